// Image files as a stranger may write them: damaged, cut off, with parts in another order.
#pragma once

#include <cstdint>
#include <string>

namespace v4i::media {

// Another file for every seed.
std::string damaged(const std::string& file, std::uint64_t seed);

}  // namespace v4i::media
