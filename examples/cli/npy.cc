// NpyWriter; see npy.h.  Format 1.0: magic, version, header length, a Python
// dictionary padded with spaces to a multiple of 64 bytes, little-endian data.
#include "npy.h"

#include "common.h"

namespace cli {

NpyWriter::NpyWriter(const std::string& path, std::uint64_t rows, std::uint64_t cols)
    : path_(path), out_(path, std::ios::binary | std::ios::trunc) {
  if (!out_) throw Failure(path + ": cannot be written");
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" +
                       std::to_string(rows) + ", " + std::to_string(cols) + "), }";
  while ((10 + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  const char begin[10] = {'\x93',
                          'N',
                          'U',
                          'M',
                          'P',
                          'Y',
                          1,
                          0,
                          static_cast<char>(header.size() & 0xff),
                          static_cast<char>(header.size() >> 8)};
  out_.write(begin, sizeof begin);
  out_.write(header.data(), static_cast<std::streamsize>(header.size()));
}

void NpyWriter::write(const float* values, std::size_t count) {
  out_.write(reinterpret_cast<const char*>(values),
             static_cast<std::streamsize>(count * sizeof(float)));
}

void NpyWriter::close() {
  out_.close();
  if (!out_) throw Failure(path_ + ": not everything could be written");
}

}  // namespace cli
