// TableFiles: shapes, descriptors and the sentences about them.
#include "lib/engram/table_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "lib/base/error.h"
#include "lib/store/open_file.h"

namespace v4i::engram {

namespace {

std::string reason(int number) { return std::generic_category().message(number); }

std::string scale_name(std::string weight) {
  const std::size_t dot = weight.rfind('.');
  return weight.replace(dot == std::string::npos ? 0 : dot + 1, std::string::npos, "scale");
}

}  // namespace

TableSource source_of(std::shared_ptr<const model::Model> model) {
  TableSource out;
  out.checkpoint = &model->checkpoint();
  out.config = &model->config();
  out.name = model->path();
  for (const int layer : out.config->engram.layers)
    out.tables.push_back(&model->block(layer).engram.table);
  out.owner = std::move(model);
  return out;
}

TableFiles::TableFiles(TableSource source, Access access, const Open& open)
    : source_(std::move(source)),
      form_(source_.config->engram.head_dim),
      files_(source_.checkpoint->shard_count(), -1) {
  for (std::size_t i = 0; i < config().layers.size(); ++i) add_table(i);
  if (access == Access::kMapped) return;
  try {
    for (const Table& table : tables_)
      for (const Tensor& t : table.parts)
        if (files_[t.shard] < 0) open_shard(t.shard, access == Access::kDirect, open);
  } catch (...) {
    close();
    throw;
  }
}

TableFiles::~TableFiles() { close(); }

void TableFiles::close() noexcept {
  for (int& fd : files_)
    if (fd >= 0) ::close(std::exchange(fd, -1));
}

void TableFiles::add_table(std::size_t layer) {
  const Weight& w = *source_.tables.at(layer);
  const model::EngramConfig& c = config();
  if (!w.present() || w.scale == nullptr || w.format != WeightFormat::kFp8)
    fail(Code::kFormat,
         "{}: layer {} has no Engram table (layers.{}.engram.embed), expected {} x {} fp8",
         source_.name, c.layers[layer], c.layers[layer], c.rows[layer], c.head_dim);
  if (w.rows != c.rows[layer] || w.cols != c.head_dim || w.block_rows != 1 ||
      w.block_cols != static_cast<int>(RowForm::kScaleWidth))
    fail(Code::kFormat,
         "{}: the Engram table of layer {} is {} x {} with a scale for {} x {}, expected {} x {} "
         "with a scale for 1 x {}",
         source_.name, c.layers[layer], w.rows, w.cols, w.block_rows, w.block_cols, c.rows[layer],
         c.head_dim, RowForm::kScaleWidth);
  V4I_CHECK(w.tensor >= 0);
  const loader::Checkpoint& files = *source_.checkpoint;
  const std::string name = files.tensors()[static_cast<std::size_t>(w.tensor)].name;
  const auto tensor = [&](const void* data, std::size_t bytes, std::string called) {
    const loader::FileRange r = files.range_of(data, bytes);
    return Tensor{r.shard, r.begin, static_cast<const std::byte*>(data), std::move(called)};
  };
  tables_.push_back(
      {{tensor(w.data, w.data_bytes(), name), tensor(w.scale, w.scale_bytes(), scale_name(name))}});
}

void TableFiles::open_shard(std::uint32_t shard, bool direct, const Open& open) {
  const loader::Checkpoint& c = *source_.checkpoint;
  const std::string& path = c.shard_path(shard);
  const int fd = files_[shard] = open ? open(path) : store::open_for_reads(path, direct);
  if (fd < 0) fail(Code::kIo, "{}: cannot open: {}", path, reason(errno));
  struct stat st;
  if (open || ::fstat(fd, &st) != 0) return;
  if (static_cast<std::uint64_t>(st.st_size) != c.shard_bytes(shard))
    fail(Code::kIo, "{}: has {} bytes, and had {} when it was mapped a moment ago", path,
         st.st_size, c.shard_bytes(shard));
}

void TableFiles::fail_read(std::size_t layer, Part part, std::int32_t row, int error) const {
  const Tensor& t = tables_[layer].parts[static_cast<int>(part)];
  if (error != 0)
    fail(Code::kIo, "{}: cannot read row {} of tensor {}: {}", path(t), row, t.name, reason(error));
  const Range r = range(layer, part, row);
  fail(
      Code::kIo,
      "{}: ends before byte {}, where row {} of tensor {} ends; it was cut off after it was opened",
      path(t), r.begin + r.bytes, row, t.name);
}

void TableFiles::fail_defect(std::size_t layer, std::int32_t row,
                             const RowForm::Defect& defect) const {
  const Tensor& t = tables_[layer].parts[static_cast<int>(defect.part)];
  const bool large = defect.part == Part::kScales && defect.code != 0xff;
  fail(Code::kFormat, "{}: tensor {}: row {} has {:#x} at column {}, {}", path(t), t.name, row,
       defect.code, defect.at,
       large ? "a scale that makes a value larger than float32 holds" : "which is not a number");
}

}  // namespace v4i::engram
