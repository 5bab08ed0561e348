// The one place where fmt's code is compiled.
//
// libv4infer neither links libfmt.so (a host program may bring its own) nor compiles
// fmt's header-only mode into every file (5 s each).  Every other file sees
// declarations; here the header-only mode is on, and what those declarations need is
// instantiated.  A function missing here is a link error.
#define FMT_HEADER_ONLY 1
#include <fmt/format.h>

FMT_BEGIN_NAMESPACE
namespace detail {

template auto dragonbox::to_decimal(float x) noexcept -> dragonbox::decimal_fp<float>;
template auto dragonbox::to_decimal(double x) noexcept -> dragonbox::decimal_fp<double>;
template auto thousands_sep_impl(locale_ref) -> thousands_sep_result<char>;
template auto decimal_point_impl(locale_ref) -> char;
template void buffer<char>::append(const char*, const char*);
template void vformat_to(buffer<char>&, string_view, basic_format_args<FMT_BUFFER_CONTEXT(char)>,
                         locale_ref);

}  // namespace detail
FMT_END_NAMESPACE

namespace {

// Taking an address makes the compiler emit an inline function.
[[gnu::used]] void* const kEmitted[] = {
    reinterpret_cast<void*>(static_cast<std::string (*)(fmt::string_view, fmt::format_args)>(
        &fmt::vformat)),
};

}  // namespace
