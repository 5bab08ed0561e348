// NpyWriter: a float32 matrix as a NumPy .npy file, row after row.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>

namespace cli {

class NpyWriter {
 public:
  NpyWriter(const std::string& path, std::uint64_t rows, std::uint64_t cols);
  void write(const float* values, std::size_t count);
  void close();  // a Failure when not everything could be written

 private:
  std::string path_;
  std::ofstream out_;
};

}  // namespace cli
