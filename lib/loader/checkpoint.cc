// Finds the shards, reads their headers, merges them; see checkpoint.h.
#include "lib/loader/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <numeric>
#include <thread>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/thread_pool.h"
#include "lib/loader/names.h"
#include "lib/loader/safetensors.h"
#include "lib/loader/shard_index.h"

namespace v4i::loader {

namespace {

constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kSingleName = "model.safetensors";
constexpr std::string_view kExtension = ".safetensors";
constexpr std::size_t kMaxIndexBytes = 256u << 20;  // V4-Pro's has 15 MB

// Every *.safetensors of a folder that has no index, sorted.
std::vector<std::string> list_shards(const std::string& folder) {
  namespace fs = std::filesystem;
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.ends_with(kExtension)) names.push_back(name);
  }
  if (error) fail(Code::kIo, "{}: cannot list the folder: {}", folder, error.message());
  if (names.empty())
    fail(Code::kIo, "{}: no {} and no *{} here; is this a model folder?", folder, kIndexName,
         kExtension);
  std::sort(names.begin(), names.end());
  return names;
}

struct Found {
  std::string folder;
  std::vector<std::string> shards;  // file names in `folder`
  ShardIndex index;
  bool indexed = false;
};

Found find_shards(const std::string& path) {
  if (!is_directory(path)) {
    if (!file_exists(path)) fail(Code::kIo, "{}: no such file or folder", path);
    return {model_folder(path), {path.substr(path.find_last_of('/') + 1)}, {}, false};
  }
  const std::string index_path = join_path(path, kIndexName);
  if (file_exists(index_path)) {
    ShardIndex index = parse_shard_index(read_text_file(index_path, kMaxIndexBytes), index_path);
    for (const std::string& shard : index.shards)
      if (!file_exists(join_path(path, shard)))
        fail(Code::kIo, "{}: shard {} is missing; the download may be incomplete", index_path,
             printable(shard));
    std::vector<std::string> shards = index.shards;
    return {path, std::move(shards), std::move(index), true};
  }
  if (file_exists(join_path(path, kSingleName))) return {path, {kSingleName}, {}, false};
  return {path, list_shards(path), {}, false};
}

// Headers are independent; V4-Flash has 69,000 tensors, so they are read side by side.
std::vector<std::vector<HeaderEntry>> read_headers(const std::vector<MappedFile>& shards) {
  constexpr std::size_t kMostThreads = 8;
  const std::size_t threads = std::min<std::size_t>(
      {shards.size(), kMostThreads, std::max(1u, std::thread::hardware_concurrency())});
  std::vector<std::vector<HeaderEntry>> out(shards.size());
  ThreadPool pool(static_cast<int>(threads));
  pool.share(std::ssize(out), ThreadPool::kMuch, [&](std::int64_t i, int) {
    const MappedFile& shard = shards[static_cast<std::size_t>(i)];
    out[static_cast<std::size_t>(i)] = read_header(shard.bytes(), shard.path());
  });
  return out;
}

// Index and headers must tell the same story.  Both lists are sorted by name.
void compare_with_index(const std::vector<TensorInfo>& tensors, const ShardIndex& index,
                        const std::string& folder) {
  const auto shard_path = [&](std::uint32_t s) { return join_path(folder, index.shards[s]); };
  std::size_t t = 0;
  for (const ShardIndex::Entry& e : index.entries) {
    if (t < tensors.size() && tensors[t].name < e.tensor) break;
    if (t == tensors.size() || tensors[t].name != e.tensor)
      fail(Code::kFormat, "{}: tensor {} is missing, though the index says it lies here",
           shard_path(e.shard), printable(e.tensor));
    if (tensors[t].shard != e.shard)
      fail(Code::kFormat, "{}: tensor {} lies here, though the index says it lies in {}",
           shard_path(tensors[t].shard), printable(e.tensor), printable(index.shards[e.shard]));
    ++t;
  }
  if (t < tensors.size())
    fail(Code::kFormat, "{}: tensor {} lies here, though the index does not name it",
         shard_path(tensors[t].shard), printable(tensors[t].name));
}

}  // namespace

std::string model_folder(const std::string& path) {
  if (is_directory(path)) return path;
  const std::size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::unique_ptr<Checkpoint> Checkpoint::open(const std::string& path) {
  const Found found = find_shards(path);
  std::unique_ptr<Checkpoint> c(new Checkpoint);
  c->folder_ = found.folder;
  for (const std::string& name : found.shards)
    c->shards_.emplace_back(join_path(found.folder, name));
  c->by_address_.resize(c->shards_.size());
  std::iota(c->by_address_.begin(), c->by_address_.end(), 0u);
  std::sort(c->by_address_.begin(), c->by_address_.end(), [&](std::uint32_t a, std::uint32_t b) {
    return std::less<>()(c->shards_[a].bytes().data(), c->shards_[b].bytes().data());
  });
  std::vector<std::vector<HeaderEntry>> headers = read_headers(c->shards_);
  for (std::uint32_t shard = 0; shard < headers.size(); ++shard) {
    for (HeaderEntry& e : headers[shard]) {
      c->tensor_bytes_ += e.end - e.begin;
      c->tensors_.push_back(
          {normalise_name(e.name), e.dtype, std::move(e.shape), shard, e.begin, e.end});
    }
  }
  auto& all = c->tensors_;
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(
      all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice != all.end())
    fail(Code::kFormat, "{}: tensor {} is given twice, here and in {}", c->shard_path(twice[0]),
         printable(twice->name), c->shard_path(twice[1]));
  if (found.indexed) compare_with_index(all, found.index, found.folder);
  return c;
}

std::int32_t Checkpoint::find(std::string_view name) const {
  const auto it =
      std::lower_bound(tensors_.begin(), tensors_.end(), name,
                       [](const TensorInfo& t, std::string_view n) { return t.name < n; });
  if (it == tensors_.end() || it->name != name) return -1;
  return static_cast<std::int32_t>(it - tensors_.begin());
}

TensorView Checkpoint::view(const TensorInfo& t) const {
  return {t.dtype, t.shape, shards_[t.shard].bytes().data() + t.begin};
}

FileRange Checkpoint::range_of(const void* data, std::uint64_t bytes) const {
  const auto* p = static_cast<const std::byte*>(data);
  const auto behind = std::upper_bound(by_address_.begin(), by_address_.end(), p,
                                       [&](const std::byte* at, std::uint32_t s) {
                                         return std::less<>()(at, shards_[s].bytes().data());
                                       });
  V4I_CHECK(behind != by_address_.begin());
  const std::uint32_t shard = *std::prev(behind);
  const std::span<const std::byte> file = shards_[shard].bytes();
  const auto begin = static_cast<std::uint64_t>(p - file.data());
  V4I_CHECK(begin <= file.size() && bytes <= file.size() - begin);
  return {shard, begin, bytes};
}

void Checkpoint::expect_random_access(bool on) const {
  for (const MappedFile& s : shards_) s.expect_random_access(on);
}

void Checkpoint::prefetch(const TensorInfo& t, std::uint64_t bytes) const {
  shards_[t.shard].prefetch(t.begin, std::min(bytes, t.end - t.begin));
}

std::uint64_t Checkpoint::file_bytes() const {
  std::uint64_t total = 0;
  for (const MappedFile& s : shards_) total += s.bytes().size();
  return total;
}

}  // namespace v4i::loader
