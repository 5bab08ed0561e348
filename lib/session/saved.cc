// Session::save and restore; the format is in saved.h.  What is read is checked
// before it is used: the bytes may come from anybody.
#include "lib/session/saved.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

#include "lib/base/error.h"
#include "lib/session/session.h"

namespace v4i::session {

namespace {

std::uint64_t checksum_of(const SavedHeader& h) {
  return checksum64(&h, offsetof(SavedHeader, checksum));
}

void write_part(const kv::WriteBytes& write, const void* data, std::size_t bytes) {
  const std::uint64_t sum = checksum64(data, bytes);
  write(data, bytes);
  write(&sum, sizeof sum);
}

void read_part(const kv::ReadBytes& read, void* data, std::size_t bytes, const char* what) {
  std::uint64_t sum = 0;
  read(data, bytes);
  read(&sum, sizeof sum);
  if (sum != checksum64(data, bytes))
    fail(Code::kFormat, "saved session is damaged: the checksum of its {} is wrong", what);
}

const char* numerics_name(std::uint32_t numerics) {
  constexpr const char* kNames[] = {"exact", "native", "fast"};  // as in forward::Numerics
  return numerics < std::size(kNames) ? kNames[numerics] : "of an unknown mode";
}

Digest digest_of(const std::uint8_t* bytes) {
  Digest d;
  std::copy(bytes, bytes + d.size(), d.begin());
  return d;
}

// A header of this version with whole bytes; nothing said yet about the model.
void check_header(const SavedHeader& h) {
  if (std::memcmp(h.magic, kSavedMagic, sizeof kSavedMagic) != 0)
    fail(Code::kFormat, "this is no saved session: it does not begin with V4ISESS");
  if (h.version != kSavedVersion && h.version != kSavedImagesVersion)
    fail(Code::kUnsupported,
         "saved session has format version {}, this library reads versions {} and {}", h.version,
         kSavedVersion, kSavedImagesVersion);
  if (h.checksum != checksum_of(h))
    fail(Code::kFormat, "saved session is damaged: the checksum of its header is wrong");
}

void check_model(const SavedHeader& h, Context& context) {
  const auto& model = context.model();
  if (digest_of(h.model) != model.digest())
    fail(Code::kUnsupported, "session was saved from model {:.16}..., {} is {:.16}...",
         to_hex(digest_of(h.model)), model.path(), to_hex(model.digest()));
}

// The same bits would have been computed here.
void check_origin(const SavedHeader& h, Context& context) {
  const auto numerics = static_cast<std::uint32_t>(context.forward().options().numerics);
  if (h.numerics != numerics)
    fail(Code::kUnsupported, "session was saved in {} numerics, the model is open in {}",
         numerics_name(h.numerics), numerics_name(numerics));
  const std::string backend(h.backend, strnlen(h.backend, sizeof h.backend));
  if (backend != context.forward().identity())
    fail(Code::kUnsupported,
         "session was saved with the \"{}\" kernels, this engine uses \"{}\"; their results "
         "differ in the last bits, so create the engine with the saved ones, or restore it by "
         "recomputing its tokens (V4I_RESTORE_RECOMPUTE)",
         backend, context.forward().identity());
  if (digest_of(h.identity) != context.identity())
    fail(Code::kUnsupported, "session was saved by a library that computes other bits");
}

void check_numbers(const SavedHeader& h, std::int64_t context_size) {
  if (h.token_count > static_cast<std::uint64_t>(context_size))
    fail(Code::kContextFull, "saved session has {} tokens, the context is {}", h.token_count,
         context_size);
  if (h.position > h.token_count || h.text_from > h.token_count || h.has_logits > 1 ||
      h.finish < 0 || h.finish > static_cast<std::int32_t>(Finish::kCancelled) ||
      (h.has_logits == 1 && h.position == 0) ||
      (h.has_logits == 0 && h.position == h.token_count && h.position > 0))
    fail(Code::kFormat, "saved session is damaged: the numbers of its header do not agree");
}

}  // namespace

void Session::save_images(const kv::WriteBytes& write) {
  const std::uint64_t count = images_.size();
  write_part(write, &count, sizeof count);
  for (const Placed& p : images_) {
    SavedImage saved = {p.first, p.count, p.row, {}};
    std::copy_n(p.image->content().begin(), sizeof saved.content, saved.content);
    write_part(write, &saved, sizeof saved);
    write_part(
        write, p.image->rows(p.row),
        static_cast<std::size_t>(p.count * context_->model().config().width) * sizeof(float));
  }
}

void Session::read_images(const kv::ReadBytes& read) {
  std::uint64_t count = 0;
  read_part(read, &count, sizeof count, "images");
  const std::int64_t width = context_->model().config().width;
  for (std::uint64_t i = 0; i < count; ++i) {
    SavedImage s;
    read_part(read, &s, sizeof s, "images");
    const std::int64_t from = images_.empty() ? 0 : images_.back().first + images_.back().count;
    const std::int64_t most = context_->model().config().vision.max_tokens;
    if (s.first < from || s.count < 1 || s.row < 0 || s.row > most || s.count > most - s.row ||
        s.first > size() - s.count)
      fail(Code::kFormat, "saved session is damaged: {} tokens from {} on are those of no image",
           s.count, s.first);
    const auto begin = tokens_.begin() + s.first;
    const std::int32_t stands_for = context_->model().config().vision.image_token;
    if (!std::all_of(begin, begin + s.count, [&](std::int32_t t) { return t == stands_for; }))
      fail(Code::kFormat, "saved session is damaged: {} tokens from {} on are not all id {}",
           s.count, s.first, stands_for);
    auto image = std::make_shared<Image>(digest_of(s.content), s.row, s.count, width,
                                         context_->engine().budget());
    const auto floats = static_cast<std::size_t>(s.count * width);
    read_part(read, image->rows(s.row), floats * sizeof(float), "images");
    const float* rows = image->rows(s.row);
    if (!std::all_of(rows, rows + floats, [](float x) { return std::isfinite(x); }))
      fail(Code::kFormat, "saved session is damaged: rows of an image are no numbers");
    images_.push_back({s.first, s.count, s.row, std::move(image)});
  }
}

void Session::save(const kv::WriteBytes& write) {
  make_whole();
  for (const Placed& p : images_) {
    if (p.image->encoded()) continue;
    const Turn turn(context_->engine().compute_lock(), nullptr);
    p.image->encode(context_->forward(), nullptr);
  }
  SavedHeader h = {};
  std::memcpy(h.magic, kSavedMagic, sizeof h.magic);
  h.version = images_.empty() ? kSavedVersion : kSavedImagesVersion;
  h.numerics = static_cast<std::uint32_t>(context_->forward().options().numerics);
  std::memcpy(h.model, context_->model().digest().data(), sizeof h.model);
  std::memcpy(h.identity, context_->identity().data(), sizeof h.identity);
  const std::string& backend = context_->forward().identity();
  V4I_CHECK(backend.size() < sizeof h.backend);
  std::memcpy(h.backend, backend.data(), backend.size());
  h.token_count = static_cast<std::uint64_t>(size());
  h.position = static_cast<std::uint64_t>(position());
  h.text_from = static_cast<std::uint64_t>(text_from_);
  h.seed = options_.seed;
  h.finish = static_cast<std::int32_t>(finish_);
  h.has_logits = has_logits() ? 1 : 0;
  h.checksum = checksum_of(h);
  write(&h, sizeof h);
  write_part(write, tokens_.data(), tokens_.size() * sizeof tokens_[0]);
  if (!images_.empty()) save_images(write);
  if (has_logits()) write_part(write, logits_.data(), logits_.bytes());
  state_.save(write);
  write(&kSavedEnd, sizeof kSavedEnd);
}

std::unique_ptr<Session> Session::restore(std::shared_ptr<Context> context,
                                          const SessionOptions& options,
                                          const kv::ReadBytes& read) {
  SavedHeader h;
  read(&h, sizeof h);
  check_header(h);
  check_model(h, *context);
  const bool recompute = options.recompute && digest_of(h.identity) != context->identity();
  if (!recompute) check_origin(h, *context);
  auto s = std::make_unique<Session>(std::move(context), options);
  check_numbers(h, s->context_size());
  s->options_.seed = h.seed;

  s->reserve(static_cast<std::int64_t>(h.token_count));
  s->tokens_.resize(h.token_count);
  read_part(read, s->tokens_.data(), s->tokens_.size() * sizeof s->tokens_[0], "tokens");
  s->check_tokens(s->tokens_);
  if (h.version == kSavedImagesVersion) {
    s->check_images();
    s->read_images(read);
  }
  if (recompute) {
    s->finish_ = static_cast<Finish>(h.finish);
    s->text_from_ = static_cast<std::int64_t>(h.text_from);
    s->restart_text();
    return s;
  }
  if (h.has_logits == 1) read_part(read, s->logits_.data(), s->logits_.bytes(), "logits");
  s->state_.restore(read, std::span<const std::int32_t>(s->tokens_).first(h.position),
                    s->media_before(static_cast<std::int64_t>(h.position)));
  std::uint64_t end = 0;
  read(&end, sizeof end);
  if (end != kSavedEnd) fail(Code::kFormat, "saved session is damaged: its end mark is missing");

  V4I_CHECK(s->position() == static_cast<std::int64_t>(h.position));
  if (h.has_logits == 1) s->logits_at_ = s->position();
  s->finish_ = static_cast<Finish>(h.finish);
  s->text_from_ = static_cast<std::int64_t>(h.text_from);
  s->restart_text();
  return s;
}

}  // namespace v4i::session
