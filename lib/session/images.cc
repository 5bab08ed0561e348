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

std::shared_ptr<Image> Session::make_image(const media::Pixels& pixels, std::int64_t max_tokens) {
  check_images();
  const model::Config& c = context_->model().config();
  media::check_pixels(pixels);
  const media::ImagePlan plan =
      media::plan_image(pixels.width, pixels.height, image_limits(c, max_tokens));
  if (auto found = context_->find_image(media::image_key(pixels, plan))) return found;
  return known(std::make_shared<Image>(c, pixels, plan, context_->engine().budget()));
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

std::shared_ptr<Image> Session::make_image_from_file(std::span<const std::uint8_t> file,
                                                     std::int64_t width, std::int64_t height,
                                                     std::int64_t max_tokens) {
  return make_image(decode_image_file(file, width, height).pixels(), max_tokens);
}

std::shared_ptr<Image> Session::make_patches(std::int64_t grid_height, std::int64_t grid_width,
                                             std::span<const float> patches,
                                             std::int64_t max_tokens) {
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
  const std::int64_t most = image_limits(c, max_tokens).max_tokens;
  auto image = std::make_shared<Image>(c, grid_height, grid_width, patches.data(),
                                       context_->engine().budget());
  if (image->tokens() > most)
    fail(Code::kInvalid, "an image of {} x {} patches takes {} tokens, expected at most {}",
         grid_width, grid_height, image->tokens(), most);
  return known(std::move(image));
}

std::shared_ptr<Image> Session::known(std::shared_ptr<Image> image) {
  if (auto found = context_->find_image(image->content())) return found;
  context_->keep_image(image);
  return image;
}

void Session::check_prompt(std::span<const std::int32_t> tokens, std::size_t images) const {
  check_tokens(tokens);
  if (images > 0) check_images();
  if (!context_->model().weights().vision.present()) return;
  const std::int32_t stands_for = context_->model().config().vision.image_token;
  const auto wanted = std::count(tokens.begin(), tokens.end(), stands_for);
  if (wanted != static_cast<std::ptrdiff_t>(images))
    fail(Code::kInvalid,
         "the tokens hold {} ids {}, each of which stands for an image, and {} images are given",
         wanted, stands_for, images);
}

Prompt Session::prompt(std::span<const std::int32_t> tokens,
                       std::span<const std::shared_ptr<Image>> images) const {
  check_prompt(tokens, images.size());
  Prompt out;
  if (images.empty()) {
    out.tokens.assign(tokens.begin(), tokens.end());
    return out;
  }
  const std::int32_t stands_for = context_->model().config().vision.image_token;
  auto size = static_cast<std::int64_t>(tokens.size() - images.size());
  for (const auto& image : images) size += image->tokens();
  out.tokens.reserve(static_cast<std::size_t>(size));
  for (const std::int32_t t : tokens) {
    if (t != stands_for) {
      out.tokens.push_back(t);
      continue;
    }
    const auto& image = images[out.images.size()];
    const auto first = static_cast<std::int64_t>(out.tokens.size());
    out.images.push_back({first, image->tokens(), 0, image});
    out.tokens.resize(static_cast<std::size_t>(first + image->tokens()), stands_for);
  }
  return out;
}

void Session::check_no_placeholder(std::span<const std::int32_t> tokens, std::int64_t first) const {
  if (!context_->model().weights().vision.present()) return;
  const std::int32_t stands_for = context_->model().config().vision.image_token;
  const auto at = std::find(tokens.begin(), tokens.end(), stands_for);
  if (at != tokens.end())
    fail(Code::kInvalid,
         "token {} is id {}, which stands for an image, and no image is given with it: "
         "v4i_session_append_media, v4i_session_sync_media and v4i_session_eval_media take tokens "
         "and images together",
         first + (at - tokens.begin()), stands_for);
}

void Session::append_media(const Prompt& prompt) {
  if (prompt.tokens.empty()) return;
  const auto n = static_cast<std::int64_t>(prompt.tokens.size());
  check_room(n);
  const std::int64_t first = size();
  reserve(first + n);
  images_.reserve(images_.size() + prompt.images.size());
  for (Placed p : prompt.images) {
    p.first += first;
    images_.push_back(std::move(p));
  }
  tokens_.insert(tokens_.end(), prompt.tokens.begin(), prompt.tokens.end());
  appended();
}

std::int64_t Session::same_as(const Prompt& prompt) const {
  const auto differ =
      std::mismatch(prompt.tokens.begin(), prompt.tokens.end(), tokens_.begin(), tokens_.end());
  const std::int64_t most = differ.first - prompt.tokens.begin();
  const auto begin = [most](const std::vector<Placed>& images, std::size_t i) {
    return i < images.size() ? std::min(images[i].first, most) : most;
  };
  for (std::size_t i = 0;; ++i) {
    const std::int64_t mine = begin(images_, i), theirs = begin(prompt.images, i);
    if (mine != theirs || mine == most) return std::min(mine, theirs);
    const Placed &a = images_[i], &b = prompt.images[i];
    if (a.row != b.row || a.image->content() != b.image->content()) return mine;
    if (a.count != b.count) return std::min(most, mine + std::min(a.count, b.count));
  }
}

std::size_t Session::sync_media(Prompt prompt) {
  check_context(prompt.tokens.size());
  const auto n = static_cast<std::int64_t>(prompt.tokens.size());
  const std::int64_t same = same_as(prompt);
  if (same == n) {
    rewind(same);
  } else {
    reserve(n);
    // An image that is there is kept: it may be encoded, or have come with a saved session.
    for (std::size_t i = 0; i < images_.size() && end_of(images_[i]) <= same; ++i)
      if (images_[i].count == prompt.images[i].count) prompt.images[i].image = images_[i].image;
    cut(same, same);  // the tokens behind it stay pending, so it need not
    tokens_.insert(tokens_.end(), prompt.tokens.begin() + same, prompt.tokens.end());
    images_ = std::move(prompt.images);
    appended();
  }
  reused_ = static_cast<std::uint64_t>(position());
  return static_cast<std::size_t>(position());
}

void Session::append(std::shared_ptr<Image> image) {
  const std::int32_t stands_for = context_->model().config().vision.image_token;
  append_media(prompt({&stands_for, 1}, {&image, 1}));
}

void Session::append_image(const media::Pixels& pixels) { append(make_image(pixels)); }

void Session::append_patches(std::int64_t grid_height, std::int64_t grid_width,
                             std::span<const float> patches) {
  append(make_patches(grid_height, grid_width, patches));
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
