// See disk_fixture.h.
#include "tests/store/disk_fixture.h"

#include <algorithm>
#include <filesystem>

namespace v4i::test {

store::Completion wait_for(store::BlockStore& store, std::uint64_t ticket,
                           std::uint64_t timeout_ns) {
  store::Completion done[1];
  for (std::uint64_t waited = 0; waited < timeout_ns; waited += kSecond / 10)
    if (store.poll(done, kSecond / 10) == 1)
      return done[0].ticket == ticket ? done[0] : store::Completion{};
  return {};
}

Code put_block(store::BlockStore& store, std::uint64_t n, std::size_t bytes) {
  const auto block = make_block(n, bytes);
  store.begin_put(make_key(n), block, 77);
  const store::Completion c = wait_for(store, 77);
  if (c.ticket != 77) return Code::kInternal;
  return c.status;
}

Code get_block(store::BlockStore& store, std::uint64_t n, std::size_t bytes) {
  std::vector<std::byte> buffer(bytes);
  store.begin_get(make_key(n), buffer, 78);
  const store::Completion c = wait_for(store, 78);
  if (c.ticket != 78) return Code::kInternal;
  if (c.status != Code::kOk) return c.status;
  return c.bytes == bytes && buffer == make_block(n, bytes) ? Code::kOk : Code::kInternal;
}

Code get_part(store::BlockStore& store, std::uint64_t n, std::size_t bytes, std::size_t at,
              std::size_t count) {
  std::vector<std::byte> buffer(count);
  store.begin_get_part(make_key(n), at, buffer, 79);
  const store::Completion c = wait_for(store, 79);
  if (c.ticket != 79) return Code::kInternal;
  if (c.status != Code::kOk) return c.status;
  const auto want = make_block(n, bytes);
  const auto from = want.begin() + static_cast<std::ptrdiff_t>(at);
  return c.bytes == count && std::equal(buffer.begin(), buffer.end(), from) ? Code::kOk
                                                                            : Code::kInternal;
}

std::vector<std::string> files_of(const std::string& folder) {
  std::vector<std::string> all;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    all.push_back(entry.path().string());
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<std::string> segments_of(const std::string& folder) {
  std::vector<std::string> all = files_of(folder);
  std::erase_if(all, [](const std::string& path) { return !path.ends_with(".v4i"); });
  return all;
}

}  // namespace v4i::test
