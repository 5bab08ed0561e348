// Images in a session's timeline.
#include <algorithm>

#include "lib/base/error.h"
#include "lib/session/saved.h"
#include "lib/session/session.h"

namespace v4i::session {

namespace {

constexpr std::uint8_t kImageRole = 1;  // router bias

std::int64_t end_of(const Placed& p) { return p.first + p.count; }

}  // namespace

void Session::check_images() const {
  if (!context_->model().weights().vision.present())
    fail(Code::kUnsupported, "{}: the model takes no images", context_->model().path());
}

void Session::append_image(const media::Pixels& pixels) {
  check_images();
  const model::Config& c = context_->model().config();
  media::check_pixels(pixels);
  const media::ImagePlan plan = media::plan_image(pixels.width, pixels.height, image_limits(c));
  check_room(plan.tokens);
  if (auto known = context_->find_image(media::image_key(pixels, plan))) return append(known);
  append(std::make_shared<Image>(c, pixels, plan, context_->engine().budget()));
}

media::ImageHeader Session::read_header(std::span<const std::uint8_t> file, std::int64_t width,
                                        std::int64_t height) const {
  check_images();
  Engine& engine = context_->engine();
  media::ImageHeader header = engine.image_files().probe(file, engine.budget());
  const bool same =
      (width == 0 || width == header.width) && (height == 0 || height == header.height);
  if (!same)
    fail(Code::kInvalid, "{} image: it has {} x {} pixels, expected {} x {}", header.format,
         header.width, header.height, width, height);
  media::plan_image(header.width, header.height, image_limits(context_->model().config()));
  return header;
}

media::DecodedImage Session::decode_image_file(std::span<const std::uint8_t> file,
                                               std::int64_t width, std::int64_t height) const {
  const media::ImageHeader header = read_header(file, width, height);
  Engine& engine = context_->engine();
  return engine.image_files().decode(file, header, engine.budget());
}

void Session::append_image_file(std::span<const std::uint8_t> file, std::int64_t width,
                                std::int64_t height) {
  const media::ImageHeader header = read_header(file, width, height);
  const model::Config& c = context_->model().config();
  check_room(media::plan_image(header.width, header.height, image_limits(c)).tokens);
  Engine& engine = context_->engine();
  append_image(engine.image_files().decode(file, header, engine.budget()).pixels());
}

void Session::append_patches(std::int64_t grid_height, std::int64_t grid_width,
                             std::span<const float> patches) {
  check_images();
  const model::Config& c = context_->model().config();
  const model::VisionConfig& v = c.vision;
  constexpr std::int64_t kMost = 1 << 20;  // no model takes a grid of that many tokens
  const std::int64_t floats = 3 * v.patch * v.patch;
  if (grid_height < 1 || grid_width < 1 || grid_height > kMost || grid_width > kMost ||
      static_cast<std::int64_t>(patches.size()) != grid_height * grid_width * floats)
    fail(Code::kInvalid, "an image of {} x {} patches has {} values, expected {} for each patch",
         grid_width, grid_height, patches.size(), floats);
  const auto bad = [](float x) { return !(x >= -1e6f && x <= 1e6f); };
  if (std::any_of(patches.begin(), patches.end(), bad))
    fail(Code::kInvalid, "the patches of an image hold values that are no numbers, or huge");
  auto image = std::make_shared<Image>(c, grid_height, grid_width, patches.data(),
                                       context_->engine().budget());
  if (image->tokens() > v.max_tokens)
    fail(Code::kInvalid, "an image of {} x {} patches takes {} tokens, the model has at most {}",
         grid_width, grid_height, image->tokens(), v.max_tokens);
  check_room(image->tokens());
  append(context_->find_image(image->content()) != nullptr ? context_->find_image(image->content())
                                                           : std::move(image));
}

void Session::append(std::shared_ptr<Image> image) {
  const std::int64_t n = image->tokens(), first = size();
  context_->keep_image(image);
  images_.push_back({first, n, 0, std::move(image)});
  try {
    reserve(first + n);
  } catch (...) {
    images_.pop_back();
    throw;
  }
  tokens_.resize(static_cast<std::size_t>(first + n),
                 context_->model().config().vision.image_token);
  appended();
}

void Session::cut_images(std::int64_t tokens) {
  while (!images_.empty() && images_.back().first >= tokens) images_.pop_back();
  if (!images_.empty())
    images_.back().count = std::min(images_.back().count, tokens - images_.back().first);
}

void Session::encode_images(std::int64_t n, const CancelFlag* cancel) {
  const std::int64_t begin = position(), end = begin + n;
  for (Placed& p : images_) {
    if (end_of(p) <= begin || p.first >= end || p.image->encoded()) continue;
    const Turn turn(context_->engine().compute_lock(), cancel);
    p.image->encode(context_->forward(), cancel);
  }
}

void Session::place_images(forward::Item* item) {
  const std::int64_t begin = position();
  const auto end = begin + static_cast<std::int64_t>(item->tokens.size());
  item_media_.clear();
  item_rows_.clear();
  for (const Placed& p : images_) {
    const std::int64_t first = std::max(p.first, begin), last = std::min(end_of(p), end);
    if (first >= last) continue;
    const std::int64_t row = p.row + first - p.first;
    item_media_.push_back({first - begin, last - first, row, p.image->content()});
    item_rows_.push_back({p.image->rows(row), kImageRole, 0});
  }
  item->media = item_media_;
  item->media_rows = item_rows_;
}

std::vector<kv::Media> Session::media_before(std::int64_t end) const {
  std::vector<kv::Media> out;
  for (const Placed& p : images_)
    if (p.first < end)
      out.push_back({p.first, std::min(p.count, end - p.first), p.row, p.image->content()});
  return out;
}

}  // namespace v4i::session
