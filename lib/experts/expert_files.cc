// Ranges to pieces to reads; see expert_files.h.
#include "lib/experts/expert_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "lib/base/error.h"
#include "lib/store/open_file.h"

namespace v4i::experts {

namespace {

constexpr std::uint64_t kAlign = ExpertFiles::kAlign;

std::uint64_t floor_of(std::uint64_t at) { return at / kAlign * kAlign; }
std::uint64_t ceil_of(std::uint64_t at) { return floor_of(at + kAlign - 1); }

// Of a layer; draft stages may have fewer than the model's own layers, or more.
std::int32_t most_experts(const model::Model& model) {
  std::size_t most = 0;
  for (int l = 0; l < model.blocks(); ++l) most = std::max(most, model.block(l).ffn.experts.size());
  return static_cast<std::int32_t>(most);
}

std::string reason(int number) { return std::generic_category().message(number); }

}  // namespace

ExpertFiles::ExpertFiles(std::shared_ptr<const model::Model> model, const Open& open)
    : model_(std::move(model)),
      layers_(model_->blocks()),
      experts_(most_experts(*model_)),
      files_(model_->checkpoint().shard_count(), -1) {
  try {
    for (int l = 0; l < layers_; ++l)
      for (std::int32_t e = 0; e < experts_of(l); ++e, ++count_) {
        const Pieces pieces = pieces_of({l, e});
        std::size_t reads = 0;
        for (const Piece& p : pieces.all()) {
          reads += (p.end - p.begin + kMostRead - 1) / kMostRead;
          if (files_[p.shard] < 0) open_shard(p.shard, open);
        }
        slot_bytes_ = std::max(slot_bytes_, pieces.bytes());
        most_reads_ = std::max(most_reads_, reads);
      }
  } catch (...) {
    close();
    throw;
  }
}

ExpertFiles::~ExpertFiles() { close(); }

void ExpertFiles::close() noexcept {
  for (int& fd : files_)
    if (fd >= 0) ::close(std::exchange(fd, -1));
}

void ExpertFiles::open_shard(std::uint32_t shard, const Open& open) {
  const loader::Checkpoint& c = model_->checkpoint();
  const std::string& path = c.shard_path(shard);
  const int fd = files_[shard] = open ? open(path) : store::open_for_reads(path, true);
  if (fd < 0) fail(Code::kIo, "{}: cannot open: {}", path, reason(errno));
  struct stat st;
  if (open || ::fstat(fd, &st) != 0) return;
  if (static_cast<std::uint64_t>(st.st_size) != c.shard_bytes(shard))
    fail(Code::kIo, "{}: has {} bytes, and had {} when it was mapped a moment ago", path,
         st.st_size, c.shard_bytes(shard));
}

// In the order of the files.
std::size_t ExpertFiles::ranges_of(ExpertId which, std::array<Range, 6>& out) const {
  std::size_t n = 0;
  const auto add = [&](const Weight& w, const void* data, std::size_t bytes, bool scale) {
    if (bytes == 0) return;
    const loader::FileRange r = model_->checkpoint().range_of(data, bytes);
    out[n++] = {r.shard, r.begin, r.begin + r.bytes, w.tensor, scale};
  };
  model::for_each_linear(mapped(which), [&](const Weight& w) {
    add(w, w.data, w.data_bytes(), false);
    add(w, w.scale, w.scale_bytes(), true);
  });
  std::sort(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(n),
            [](const Range& a, const Range& b) {
              return a.shard != b.shard ? a.shard < b.shard : a.begin < b.begin;
            });
  return n;
}

std::size_t ExpertFiles::Pieces::bytes() const {
  if (count == 0) return 0;
  const Piece& last = piece[count - 1];
  return last.at + static_cast<std::size_t>(last.end - last.begin);
}

ExpertFiles::Pieces ExpertFiles::pieces_of(ExpertId which) const {
  std::array<Range, 6> ranges;
  const std::size_t n = ranges_of(which, ranges);
  Pieces out;
  for (std::size_t i = 0; i < n; ++i) {
    const Range& r = ranges[i];
    const std::uint64_t begin = floor_of(r.begin), end = ceil_of(r.end);
    Piece* last = out.count > 0 ? &out.piece[out.count - 1] : nullptr;
    if (last != nullptr && last->shard == r.shard && begin <= last->end) {
      last->end = std::max(last->end, end);
      last->used_end = std::max(last->used_end, r.end);
      continue;
    }
    const std::size_t at = out.bytes();
    out.piece[out.count++] = {r.shard, begin, end, r.end, at};
  }
  return out;
}

std::size_t ExpertFiles::plan(ExpertId which, std::byte* slot,
                              std::span<store::ReadRequest> reads) const {
  const Pieces pieces = pieces_of(which);
  std::size_t n = 0;
  for (const Piece& p : pieces.all())
    for (std::uint64_t at = p.begin; at < p.end; at += kMostRead) {
      V4I_CHECK(n < reads.size());
      store::ReadRequest& r = reads[n++];
      r.fd = files_[p.shard];
      r.offset = at;
      r.to = slot + p.at + (at - p.begin);
      r.bytes = static_cast<std::size_t>(std::min<std::uint64_t>(kMostRead, p.end - at));
    }
  return n;
}

// Where the bytes that `data` points to in the mapping lie in the slot.
const void* ExpertFiles::moved(const void* data, std::size_t bytes, const Pieces& pieces,
                               const std::byte* slot) const {
  const loader::FileRange r = model_->checkpoint().range_of(data, bytes);
  for (const Piece& p : pieces.all())
    if (p.shard == r.shard && p.begin <= r.begin && r.begin + r.bytes <= p.end)
      return slot + p.at + (r.begin - p.begin);
  V4I_CHECK(false);
  return nullptr;
}

model::Expert ExpertFiles::view(ExpertId which, const std::byte* slot) const {
  const Pieces pieces = pieces_of(which);
  model::Expert out = mapped(which);
  for (Weight* w : {&out.w1, &out.w3, &out.w2}) {
    w->data = moved(w->data, w->data_bytes(), pieces, slot);
    if (w->scale != nullptr)
      w->scale = static_cast<const std::uint8_t*>(moved(w->scale, w->scale_bytes(), pieces, slot));
  }
  return out;
}

void ExpertFiles::check(ExpertId which, std::span<const store::ReadRequest> reads) const {
  const Pieces pieces = pieces_of(which);
  std::size_t n = 0;
  for (const Piece& p : pieces.all())
    for (std::uint64_t at = p.begin; at < p.end; at += kMostRead, ++n) {
      const store::ReadRequest& r = reads[n];
      // Behind the last range the file may end.
      const std::uint64_t wanted =
          std::min<std::uint64_t>(r.bytes, p.used_end - std::min(at, p.used_end));
      if (r.error != 0 || r.read < wanted) fail_read(which, p, at + r.read, r.error);
    }
}

void ExpertFiles::fail_read(ExpertId which, const Piece& piece, std::uint64_t at, int error) const {
  std::array<Range, 6> ranges;
  const std::size_t n = ranges_of(which, ranges);
  std::size_t i = 0;  // the first range that is not whole
  while (i + 1 < n && (ranges[i].shard != piece.shard || ranges[i].end <= at)) ++i;
  const Range& r = ranges[i];
  const loader::Checkpoint& c = model_->checkpoint();
  std::string name = c.tensors()[static_cast<std::size_t>(r.tensor)].name;
  if (r.scale) name.replace(name.rfind('.') + 1, std::string::npos, "scale");
  const std::string& path = c.shard_path(piece.shard);
  if (error != 0)
    fail(Code::kIo, "{}: cannot read tensor {}, bytes {} to {}: {}", path, name, r.begin, r.end,
         reason(error));
  fail(Code::kIo,
       "{}: ends at byte {}, tensor {} reaches to byte {}; it was cut off after it was opened",
       path, at, name, r.end);
}

}  // namespace v4i::experts
