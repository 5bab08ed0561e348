// The safetensors header, read as hostile input; see safetensors.h.
#include "lib/loader/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string_view>
#include <utility>

#include "lib/base/error.h"
#include "lib/loader/names.h"

namespace v4i::loader {

namespace {

using nlohmann::json;

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeader = 100'000'000;  // the limit of the reference implementation
constexpr std::size_t kMaxRank = 8;

// The header's grammar as a state machine over SAX events: no tree is built, so
// the cost of a hostile header is bounded by its length.
class HeaderReader : public json::json_sax_t {
 public:
  explicit HeaderReader(const std::string& path) : path_(path) {}

  std::vector<HeaderEntry> take() { return std::move(entries_); }

  bool start_object(std::size_t) override {
    if (state_ == State::kStart) return go(State::kNames);
    if (state_ != State::kEntryValue) bad("an object");
    if (name_ == "__metadata__") return go(State::kMetadata);
    entries_.push_back({name_, DType::kF32, {}, 0, 0});
    seen_dtype_ = seen_shape_ = seen_offsets_ = false;
    return go(State::kFields);
  }

  bool key(std::string& k) override {
    if (state_ == State::kMetadata) return true;
    if (state_ == State::kFields) return field(k);
    name_ = std::move(k);
    return go(State::kEntryValue);
  }

  bool end_object() override {
    if (state_ == State::kFields) require_all_fields();
    return go(state_ == State::kNames ? State::kEnd : State::kNames);
  }

  bool string(std::string& s) override {
    if (state_ == State::kMetadata) return true;
    if (state_ != State::kDtype) bad("a string");
    if (!dtype_from_name(s, &entries_.back().dtype))
      fail(Code::kFormat, "{}: tensor {}: unknown dtype {}", path_, printable(name_), printable(s));
    return go(State::kFields);
  }

  bool start_array(std::size_t) override {
    if (state_ == State::kShape) return go(State::kShapeItem);
    if (state_ == State::kOffsets) return go(State::kOffsetItem);
    bad("an array");
  }

  bool end_array() override {
    if (state_ == State::kOffsetItem && offsets_ != 2)
      fail(Code::kFormat, "{}: tensor {}: data_offsets has {} numbers, expected 2", path_,
           printable(name_), offsets_);
    return go(State::kFields);
  }

  bool number_unsigned(std::uint64_t v) override {
    if (state_ == State::kShapeItem) return add_dimension(v);
    if (state_ == State::kOffsetItem) return add_offset(v);
    bad("a number");
  }

  bool number_integer(std::int64_t v) override {
    fail(Code::kFormat, "{}: tensor {}: negative number {}", path_, printable(name_), v);
  }
  bool number_float(double, const std::string& text) override {
    fail(Code::kFormat, "{}: tensor {}: {} is not a 64-bit whole number", path_, printable(name_),
         printable(text));
  }
  bool null() override { bad("null"); }
  bool boolean(bool) override { bad("a boolean"); }
  bool binary(json::binary_t&) override { bad("binary data"); }
  bool parse_error(std::size_t at, const std::string&, const json::exception&) override {
    fail(Code::kFormat, "{}: the header is not JSON at its byte {}", path_, at);
  }

 private:
  enum class State {
    kStart,
    kNames,
    kEntryValue,
    kMetadata,
    kFields,
    kDtype,
    kShape,
    kShapeItem,
    kOffsets,
    kOffsetItem,
    kEnd
  };

  bool go(State s) {
    state_ = s;
    return true;
  }

  [[noreturn]] void bad(const char* found) const {
    fail(Code::kFormat,
         "{}: tensor {}: the header has {} where the safetensors format does not allow it", path_,
         printable(name_), found);
  }

  bool field(const std::string& k) {
    if (k == "dtype") return once(&seen_dtype_, k, State::kDtype);
    if (k == "shape") return once(&seen_shape_, k, State::kShape);
    if (k == "data_offsets") {
      offsets_ = 0;
      return once(&seen_offsets_, k, State::kOffsets);
    }
    fail(Code::kFormat, "{}: tensor {}: unknown key {}", path_, printable(name_), printable(k));
  }

  bool once(bool* seen, const std::string& k, State next) {
    if (std::exchange(*seen, true))
      fail(Code::kFormat, "{}: tensor {}: {} is given twice", path_, printable(name_), k);
    return go(next);
  }

  void require_all_fields() const {
    const char* missing = !seen_dtype_     ? "dtype"
                          : !seen_shape_   ? "shape"
                          : !seen_offsets_ ? "data_offsets"
                                           : nullptr;
    if (missing != nullptr)
      fail(Code::kFormat, "{}: tensor {}: {} is missing", path_, printable(name_), missing);
  }

  bool add_dimension(std::uint64_t v) {
    std::vector<std::int64_t>& shape = entries_.back().shape;
    if (shape.size() == kMaxRank)
      fail(Code::kFormat, "{}: tensor {}: more than {} dimensions", path_, printable(name_),
           kMaxRank);
    if (v > static_cast<std::uint64_t>(INT64_MAX))
      fail(Code::kFormat, "{}: tensor {}: dimension {} is too large", path_, printable(name_), v);
    shape.push_back(static_cast<std::int64_t>(v));
    return true;
  }

  bool add_offset(std::uint64_t v) {
    if (offsets_ < 2) (offsets_ == 0 ? entries_.back().begin : entries_.back().end) = v;
    ++offsets_;
    return true;
  }

  const std::string& path_;
  std::vector<HeaderEntry> entries_;
  std::string name_;
  State state_ = State::kStart;
  bool seen_dtype_ = false, seen_shape_ = false, seen_offsets_ = false;
  std::size_t offsets_ = 0;
};

// Bytes that shape and dtype ask for; refuses a product above 2^63 - 1.
std::uint64_t bytes_wanted(const HeaderEntry& e, const std::string& path) {
  std::int64_t n = static_cast<std::int64_t>(dtype_bytes(e.dtype));
  for (const std::int64_t d : e.shape)
    if (__builtin_mul_overflow(n, d, &n))
      fail(Code::kFormat, "{}: tensor {}: shape {} has more than 2^63 bytes", path,
           printable(e.name), shape_text(e.shape));
  return static_cast<std::uint64_t>(n);
}

// Turns offsets into positions in the file and checks them.
void place(HeaderEntry& e, std::uint64_t data_begin, std::uint64_t data_bytes,
           const std::string& path) {
  if (e.begin > e.end || e.end > data_bytes)
    fail(Code::kFormat,
         "{}: tensor {}: bytes {}..{} lie outside the file's {} tensor bytes; the download may be "
         "incomplete",
         path, printable(e.name), e.begin, e.end, data_bytes);
  const std::uint64_t wanted = bytes_wanted(e, path);
  if (e.end - e.begin != wanted)
    fail(Code::kFormat, "{}: tensor {}: {} bytes, expected {} for {} {}", path, printable(e.name),
         e.end - e.begin, wanted, dtype_name(e.dtype), shape_text(e.shape));
  e.begin += data_begin;
  e.end += data_begin;
}

// The format wants the tensors to tile the data section.
void check_tiling(const std::vector<HeaderEntry>& entries, std::uint64_t data_begin,
                  std::uint64_t file_bytes, const std::string& path) {
  std::vector<std::uint32_t> order(entries.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return std::pair(entries[a].begin, entries[a].end) <
           std::pair(entries[b].begin, entries[b].end);
  });
  std::uint64_t at = data_begin;
  for (const std::uint32_t i : order) {
    const HeaderEntry& e = entries[i];
    if (e.begin < at)
      fail(Code::kFormat, "{}: tensor {}: its bytes from {} overlap another tensor's, up to {}",
           path, printable(e.name), e.begin, at);
    if (e.begin > at)
      fail(Code::kFormat, "{}: bytes {}..{} before tensor {} belong to no tensor", path, at,
           e.begin, printable(e.name));
    at = e.end;
  }
  if (at != file_bytes)
    fail(Code::kFormat, "{}: {} bytes after the last tensor", path, file_bytes - at);
}

std::uint64_t header_length(std::span<const std::byte> file, const std::string& path) {
  if (file.size() < kLengthBytes)
    fail(Code::kFormat, "{}: {} bytes, too short for a safetensors file", path, file.size());
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i)
    n |= std::to_integer<std::uint64_t>(file[i]) << (8 * i);
  const std::uint64_t room = std::min<std::uint64_t>(file.size() - kLengthBytes, kMaxHeader);
  if (n > room)
    fail(Code::kFormat, "{}: the header claims {} bytes, expected at most {} in a file of {}", path,
         n, room, file.size());
  return n;
}

}  // namespace

std::vector<HeaderEntry> read_header(std::span<const std::byte> file, const std::string& path) {
  const std::uint64_t length = header_length(file, path);
  const char* text = reinterpret_cast<const char*>(file.data()) + kLengthBytes;
  if (length == 0 || text[0] != '{')
    fail(Code::kFormat, "{}: not a safetensors file: the header does not begin with {{", path);
  HeaderReader reader(path);
  json::sax_parse(text, text + length, &reader);
  std::vector<HeaderEntry> entries = reader.take();
  const std::uint64_t data_begin = kLengthBytes + length;
  for (HeaderEntry& e : entries) place(e, data_begin, file.size() - data_begin, path);
  check_tiling(entries, data_begin, file.size(), path);
  return entries;
}

}  // namespace v4i::loader
