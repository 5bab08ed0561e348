// kernels: planted/kernels
// Small kernels with planted faults: right ones pass, and every fault is found by the emulator, by
// the race check (test_cuda_planted_races) or by AddressSanitizer.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "kernels/formats.h"
#include "tests/cuda/emulate/run.h"
#include "tests/cuda/planted/kernels.h"
#include "tests/support/catch.h"

namespace v4i {
namespace {

using namespace kernels::cuda;

#if defined(V4I_RACES)
constexpr bool kRaceCheck = true;
#else
constexpr bool kRaceCheck = false;
#endif

// "": the right result; "wrong", or what was thrown.
template <class Args, class Right>
std::string outcome(const Launch& launch, const Args& args, std::uint64_t seed, Right right) {
  try {
    emulate::run(launch, args, seed);
  } catch (const emulate::Failure& f) {
    return f.what();
  }
  return right() ? "" : "wrong";
}

std::string sum(Fault fault, std::uint64_t seed) {
  const emulate::Buffer<float> in(1000, 1.0f);
  emulate::Buffer<float> out(4);
  const SumArgs args{in.data(), out.data(), 1000, fault};
  return outcome(launch_sum(args), args, seed, [&] {
    return out[0] == 256.0f && out[1] == 256.0f && out[2] == 256.0f && out[3] == 232.0f;
  });
}

std::string transpose(Fault fault, std::uint64_t seed) {
  const int rows = 45, cols = 70;
  emulate::Buffer<float> in(rows * cols), out(rows * cols);
  for (int i = 0; i < rows * cols; ++i) in[i] = static_cast<float>(i);
  const TransposeArgs args{in.data(), out.data(), rows, cols, fault};
  return outcome(launch_transpose(args), args, seed, [&] {
    for (int i = 0; i < rows * cols; ++i)
      if (out[i % cols * rows + i / cols] != in[i]) return false;
    return true;
  });
}

std::string histogram(Fault fault, std::uint64_t seed) {
  emulate::Buffer<std::uint8_t> in(1500);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::uint8_t>(i * i % 16);
  emulate::Buffer<std::int32_t> counts(16, 0), expected(16, 0);
  for (const std::uint8_t v : in) ++expected[v];
  const HistogramArgs args{in.data(), counts.data(), 1500, fault};
  return outcome(launch_histogram(args), args, seed, [&] { return counts.same_bits(expected); });
}

std::string tile(Fault fault, std::uint64_t seed) {
  emulate::Buffer<std::uint16_t> a(256), b(128);
  for (int i = 0; i < 256; ++i) a[i] = kernels::encode_bf16(static_cast<float>(i * 7 % 19 - 9));
  for (int i = 0; i < 128; ++i) b[i] = kernels::encode_bf16(static_cast<float>(i * 5 % 17 - 8));
  emulate::Buffer<float> d(128);
  const TileArgs args{a.data(), b.data(), d.data(), fault};
  return outcome(launch_tile(args), args, seed, [&] {
    for (int i = 0; i < 128; ++i) {
      float sum = 0;
      for (int k = 0; k < 16; ++k)
        sum += kernels::decode_bf16(a[i / 8 * 16 + k]) * kernels::decode_bf16(b[i % 8 * 16 + k]);
      if (d[i] != sum) return false;
    }
    return true;
  });
}

using Kernel = std::string (*)(Fault, std::uint64_t);
constexpr Kernel kAll[] = {sum, transpose, histogram, tile};

// How many of 6 schedules find the fault, with one of these words.
int found(Kernel kernel, Fault fault, const std::string& words, const std::string& or_words = "") {
  int n = 0;
  std::string last;
  const auto has = [&last](const std::string& w) {
    return !w.empty() && last.find(w) != std::string::npos;
  };
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    last = kernel(fault, seed);
    n += has(words) || has(or_words);
  }
  UNSCOPED_INFO("the last: " << last);
  return n;
}

TEST_CASE("Right kernels pass under 21 schedules") {
  for (const Kernel kernel : kAll)
    for (std::uint64_t seed = 0; seed <= 20; ++seed) CHECK(kernel(kRight, seed) == "");
}

// Of the race check, whose schedule may have the reader before the writer.
const std::string kRace = "race: this thread", kEarly = "which no thread wrote";

TEST_CASE("A barrier that is missing is found") {
  for (const Kernel kernel : {sum, transpose, histogram})
    CHECK(found(kernel, kNoBarrier, kRaceCheck ? kRace : "wrong", kRaceCheck ? kEarly : "") == 6);
}

TEST_CASE("The report of a race names both lines") {
  if (!kRaceCheck || std::system("addr2line --version >/dev/null 2>&1") != 0) return;
  for (const std::string& report : {sum(kSharedRace, 1), tile(kWrongFragment, 1)}) {
    INFO(report);
    const std::size_t first = report.find("kernels.cu:");
    REQUIRE(first != std::string::npos);
    CHECK(report.find("kernels.cu:", first + 1) != std::string::npos);
  }
}

TEST_CASE("Bytes that are copied asynchronously are not there before the wait") {
  CHECK(found(tile, kNoCopyWait, "wrong", kRace) == 6);
}

TEST_CASE("Barriers and shuffles that diverge are found, with both places") {
  for (const Fault fault : {kDivergentBarrier, kDivergentShuffle}) {
    const std::string report = sum(fault, 1);
    INFO(report);
    CHECK_THAT(report, Catch::Contains("divergent") && Catch::Contains("kernels.cu:"));
    CHECK(report.find("kernels.cu:") != report.rfind("kernels.cu:"));
  }
  const std::string report = sum(kMissingThread, 1);
  INFO(report);
  CHECK_THAT(report, Catch::Contains("no thread can go on"));
  CHECK(report.find("kernels.cu:") != report.rfind("kernels.cu:"));
}

TEST_CASE("Shared memory that nobody wrote is not read unnoticed") {
  // One poison of three, 0xabababab, is too small a float32 to show in a sum.
  CHECK(found(sum, kNotWritten, kRaceCheck ? kEarly : "wrong") >= 4);
  CHECK(found(histogram, kNotWritten, kRaceCheck ? kEarly : "wrong") == 6);
}

TEST_CASE("A wrong place in a fragment and a wrong alignment are found") {
  CHECK(found(tile, kWrongFragment, kRaceCheck ? "race" : "wrong") == 6);
  CHECK(found(tile, kMisaligned, "not aligned") == 6);
}

TEST_CASE("Threads that have ended are not waited for") {
  if (!kRaceCheck) CHECK(sum(kWarpEnds, 1) == "");
}

#if defined(V4I_RACES)

TEST_CASE("Races that leave the result right are found") {
  CHECK(found(sum, kSharedRace, kRace) == 6);
  CHECK(found(histogram, kSharedRace, kRace) == 6);
  CHECK(found(tile, kNoWarpBarrier, kRace, kEarly) == 6);
}

TEST_CASE("Races between blocks are found") {
  CHECK(found(sum, kBlocksRace, "race between blocks") == 6);
  CHECK(found(sum, kBlocksReadRace, "race between blocks") == 6);
  CHECK(found(histogram, kBlocksRace, "race between blocks") == 6);
}

#else

// The fault ends the process, so another one commits it.
TEST_CASE("commits the fault of V4I_PLANTED_FAULT", "[.child]") {
  const char* fault = std::getenv("V4I_PLANTED_FAULT");
  REQUIRE(fault != nullptr);
  sum(static_cast<Fault>(std::atoi(fault)), 1);
}

std::string report_of_child(Fault fault) {
  char program[4096] = "";
  if (readlink("/proc/self/exe", program, sizeof program - 1) < 0) return "no /proc";
  const std::string command =
      "V4I_PLANTED_FAULT=" + std::to_string(fault) + " '" + program + "' '[.child]' 2>&1";
  std::FILE* out = popen(command.c_str(), "r");
  if (out == nullptr) return "no child";
  std::string report;
  char part[4096];
  while (const std::size_t n = std::fread(part, 1, sizeof part, out)) report.append(part, n);
  const int status = pclose(out);
  return status == 0 ? "the child ended well" : report;
}

TEST_CASE("A store behind the end is found by AddressSanitizer, on a fibre's stack") {
  for (const Fault fault : {kStoreBehind, kSharedBehind}) {
    const std::string report = report_of_child(fault);
    INFO(report);
    CHECK_THAT(report, Catch::Contains("heap-buffer-overflow") &&
                           Catch::Contains("v4i_body_of_v4i_planted_sum"));
  }
}

#endif

}  // namespace
}  // namespace v4i
