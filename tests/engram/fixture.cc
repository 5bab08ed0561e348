// Tables in files and what they hold; see fixture.h.
#include "tests/engram/fixture.h"

#include <fcntl.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>

#include "lib/base/error.h"
#include "tests/engram/configs.h"
#include "tests/support/safetensors_edit.h"

namespace v4i::test {

namespace {

using engram::Part;

std::int64_t primes_from(std::int64_t first, std::int64_t count, std::int64_t& next) {
  std::int64_t sum = 0;
  for (next = std::max(next, first); count > 0; --count, ++next) {
    next = static_cast<std::int64_t>(engram::next_prime(static_cast<std::uint64_t>(next)));
    sum += next;
  }
  return sum;
}

std::string codes(std::size_t n, std::mt19937& random) {
  std::string out(n, '\0');
  for (char& c : out) {
    c = static_cast<char>(random());
    if ((c & 0x7f) == 0x7f) c = static_cast<char>(c ^ 1);
  }
  return out;
}

std::string scales(std::size_t n, std::mt19937& random) {
  std::string out(n, '\0');
  for (char& c : out) c = static_cast<char>(100 + random() % 50);
  return out;
}

double value_of(std::uint8_t code) {
  const int exponent = code >> 3 & 15, fraction = code & 7;
  const double v =
      exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, exponent - 10);
  return code >= 128 ? -v : v;
}

std::string tensor_name(int layer, Part part) {
  return "layers." + std::to_string(layer) + ".engram.embed." +
         (part == Part::kCodes ? "weight" : "scale");
}

}  // namespace

TableShape tiny_tables() { return {tiny_engram(), 512}; }

TableShape wide_tables() {
  TableShape out;
  model::EngramConfig& c = out.engram;
  c = released_engram();
  c.bucket_rows = 500;
  c.classes = 333;
  std::int64_t next = 0;
  for (std::int64_t& rows : c.rows)
    rows = primes_from(c.bucket_rows, (c.max_ngram - 1) * c.heads, next);
  return out;
}

std::vector<Weight> bind_tables(const loader::Checkpoint& checkpoint, const model::Config& config) {
  std::vector<Weight> out;
  for (const int layer : config.engram.layers) {
    const std::int32_t codes_at = checkpoint.find(tensor_name(layer, Part::kCodes));
    const std::int32_t scales_at = checkpoint.find(tensor_name(layer, Part::kScales));
    Weight& w = out.emplace_back();
    if (codes_at < 0 || scales_at < 0) continue;
    const auto& tensors = checkpoint.tensors();
    const TensorView view = checkpoint.view(tensors[std::size_t(codes_at)]);
    w.format = WeightFormat::kFp8;
    w.rows = view.shape[0];
    w.cols = view.shape[1];
    w.data = view.data;
    w.scale = checkpoint.view(tensors[std::size_t(scales_at)]).as<std::uint8_t>();
    w.block_rows = 1;
    w.block_cols = 32;
    w.tensor = codes_at;
  }
  return out;
}

EngramTables::EngramTables(const TableShape& shape, int seed) {
  config_.vocab = shape.vocab;
  config_.engram = shape.engram;
  std::mt19937 random(static_cast<std::uint32_t>(seed));
  const auto wide = static_cast<std::size_t>(shape.engram.head_dim);
  StFile shards[3];
  shards[0]["a.pad"] = {"I8", {13}, std::string(13, 'x')};
  shards[1]["a.pad1"] = {"I8", {4091}, std::string(4091, 'x')};
  shards[2]["a.pad2"] = {"I8", {1}, "x"};
  for (std::size_t i = 0; i < shape.engram.layers.size(); ++i) {
    const int layer = shape.engram.layers[i];
    const std::int64_t rows = shape.engram.rows[i];
    const auto n = static_cast<std::size_t>(rows) * wide;
    shards[i % 3][tensor_name(layer, Part::kCodes)] = {
        "F8_E4M3", {rows, shape.engram.head_dim}, codes(n, random)};
    shards[(i + 1) % 3][tensor_name(layer, Part::kScales)] = {
        "F8_E8M0", {rows, shape.engram.head_dim / 32}, scales(n / 32, random)};
  }
  for (int i = 0; i < 3; ++i)
    write_safetensors(dir_.file("model-" + std::to_string(i) + ".safetensors"), shards[i]);
  checkpoint_ = loader::Checkpoint::open(dir_.path());
  tables_ = bind_tables(*checkpoint_, config_);
}

engram::TableSource EngramTables::source() const {
  engram::TableSource out;
  out.checkpoint = checkpoint_.get();
  out.config = &config_;
  out.name = dir_.path();
  for (const Weight& w : tables_) out.tables.push_back(&w);
  return out;
}

engram::ClassMap EngramTables::classes() const {
  std::vector<std::int32_t> map(static_cast<std::size_t>(config_.vocab));
  for (std::size_t i = 0; i < map.size(); ++i)
    map[i] = static_cast<std::int32_t>(i) % static_cast<std::int32_t>(config_.engram.classes);
  return engram::ClassMap(std::move(map), config_, "map");
}

std::string EngramTables::shard(std::size_t layer, Part part) const {
  const std::string name = tensor_name(config_.engram.layers[layer], part);
  return checkpoint_->shard_path(checkpoint_->tensors()[std::size_t(checkpoint_->find(name))]);
}

std::uint64_t EngramTables::offset(std::size_t layer, Part part, std::int32_t row) const {
  const std::string name = tensor_name(config_.engram.layers[layer], part);
  const loader::TensorInfo& t = checkpoint_->tensors()[std::size_t(checkpoint_->find(name))];
  return t.begin + static_cast<std::uint64_t>(row) * static_cast<std::uint64_t>(t.shape[1]);
}

void EngramTables::overwrite(std::size_t layer, Part part, std::int32_t row, std::size_t at,
                             std::uint8_t byte) const {
  const int fd = ::open(shard(layer, part).c_str(), O_WRONLY);
  const auto to = static_cast<off_t>(offset(layer, part, row) + at);
  if (fd < 0 || ::pwrite(fd, &byte, 1, to) != 1) fail(Code::kIo, "cannot overwrite");
  ::close(fd);
}

std::vector<std::int32_t> EngramTables::windows(std::size_t tokens, std::uint32_t seed) const {
  std::mt19937 random(seed);
  std::vector<std::int32_t> text(tokens + 3);
  const auto classes = static_cast<std::uint32_t>(config_.engram.classes);
  for (std::size_t i = 0; i < text.size(); ++i) {
    text[i] = static_cast<std::int32_t>(random() % classes);
    if (i > 8 && random() % 2 == 0) text[i] = text[i - 8];  // phrases come again
    if (random() % 16 == 0) text[i] = engram::kDead;
  }
  const auto ngram = static_cast<std::size_t>(config_.engram.max_ngram);
  std::vector<std::int32_t> out(text.size() * ngram);
  engram::fill_windows(text, 0, config_.engram.max_ngram, out.data());
  out.erase(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(random() % 4 * ngram));
  out.resize(tokens * ngram);
  return out;
}

std::vector<std::int32_t> EngramTables::rows_of(std::size_t layer,
                                                const std::vector<std::int32_t>& windows) const {
  const engram::Hash hash(config_.engram, classes().pad(), "config.json");
  const auto ngram = static_cast<std::size_t>(config_.engram.max_ngram);
  const auto columns = static_cast<std::size_t>(hash.columns());
  std::vector<std::int32_t> out(windows.size() / ngram * columns);
  for (std::size_t t = 0; t * ngram < windows.size(); ++t)
    hash.rows(layer, windows.data() + t * ngram, out.data() + t * columns);
  return out;
}

std::vector<float> EngramTables::wanted(std::size_t layer,
                                        const std::vector<std::int32_t>& windows) const {
  const auto wide = static_cast<std::size_t>(config_.engram.head_dim);
  const Weight& w = tables_[layer];
  double values[256];
  for (int code = 0; code < 256; ++code) values[code] = value_of(static_cast<std::uint8_t>(code));
  std::vector<float> out;
  for (const std::int32_t row : rows_of(layer, windows))
    for (std::size_t i = 0; i < wide; ++i) {
      const std::size_t at = static_cast<std::size_t>(row) * wide + i;
      const std::uint8_t code = static_cast<const std::uint8_t*>(w.data)[at];
      out.push_back(static_cast<float>(std::ldexp(values[code], w.scale[at / 32] - 127)));
    }
  return out;
}

void write_sparse_table(const std::string& path, std::int64_t rows, std::int64_t head_dim) {
  const std::int64_t n = rows * head_dim, scales = n / 32;
  const std::string header =
      fmt::format(R"({{"{}": {{"dtype": "F8_E4M3", "shape": [{}, {}], "data_offsets": [0, {}]}},)"
                  R"( "{}": {{"dtype": "F8_E8M0", "shape": [{}, {}], "data_offsets": [{}, {}]}}}})",
                  tensor_name(0, Part::kCodes), rows, head_dim, n, tensor_name(0, Part::kScales),
                  rows, head_dim / 32, n, n + scales);
  write_file(path, safetensors_bytes(header, ""));
  std::filesystem::resize_file(path, 8 + header.size() + static_cast<std::uint64_t>(n + scales));
}

bool rest_equals(engram::Tables& tables, const EngramTables& model,
                 const std::vector<std::int32_t>& windows) {
  const auto tokens = static_cast<std::int64_t>(windows.size()) / model.config().engram.max_ngram;
  bool equal = true;
  for (std::size_t layer = 0; layer < model.config().engram.layers.size(); ++layer) {
    tables.wait(layer, nullptr);
    std::vector<float> got(static_cast<std::size_t>(tokens * tables.width()), -1);
    for (std::int64_t t = 0; t < tokens; t += 7)
      tables.rows(layer, t, std::min<std::int64_t>(7, tokens - t), got.data() + t * tables.width());
    const std::vector<float> want = model.wanted(layer, windows);
    equal = equal && got.size() == want.size() &&
            (got.empty() || std::memcmp(got.data(), want.data(), got.size() * sizeof(float)) == 0);
  }
  return equal;
}

bool run_equals(engram::Tables& tables, const EngramTables& model,
                const std::vector<std::int32_t>& windows) {
  tables.begin(windows);
  return rest_equals(tables, model, windows);
}

}  // namespace v4i::test
