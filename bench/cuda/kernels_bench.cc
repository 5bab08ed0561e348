// Every kernel at the shapes of V4-Flash on a device, against what the device can do: CSV on stdout
// or in a file.  README.md says what the columns are.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>

#include "bench/cuda/families.h"

namespace {

using namespace v4i::bench::cuda;

struct Family {
  const char* name;
  void (*measure)(Meter&);
};

constexpr Family kFamilies[] = {{"products", measure_products},   {"experts", measure_experts},
                                {"attention", measure_attention}, {"indexer", measure_indexer},
                                {"sparse", measure_sparse},       {"rows", measure_rows},
                                {"streams", measure_streams},     {"router", measure_router}};

constexpr int kLost = 3;  // exit code: a kernel took the device down

// 0, 1 when something failed, or kLost.
int run(const MeterOptions& options, const std::vector<std::string>& only) {
  Meter meter(options);
  measure_floors(meter);
  int failed = 0;
  for (const Family& f : kFamilies) {
    if (!only.empty() && std::find(only.begin(), only.end(), f.name) == only.end()) continue;
    std::fprintf(stderr, "measuring: %s\n", f.name);
    try {
      f.measure(meter);
    } catch (const std::exception& e) {
      std::fprintf(stderr, "failed: %s: %s\n", f.name, e.what());
      ++failed;
    }
    try {
      meter.device()->free_bytes();
    } catch (const std::exception&) {
      return kLost;
    }
  }
  return failed + meter.failures() == 0 ? 0 : 1;
}

void print_info(const std::string& library) {
  const v4i_cuda_info i = fc::Device::open(fc::Library::open("cuda:0", library), 0)->info();
  std::printf(
      "%s\n%s, %d multiprocessors, %.1f GiB, %.1f free, %zu bytes of shared memory a block\n",
      i.name, i.target, i.processors, static_cast<double>(i.memory) / (1 << 30),
      static_cast<double>(i.free) / (1 << 30), static_cast<std::size_t>(i.shared));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("kernels on a CUDA device, as CSV", "cuda_kernels_bench");
  MeterOptions options;
  std::string csv;
  std::vector<std::string> only;
  app.add_option("--library", options.library, "the plug-in; default: beside this program");
  app.add_option("--csv", csv, "a file instead of stdout");
  app.add_option("--only", only, "families, with commas between them")->delimiter(',');
  app.add_option("--peak", options.peak_tflops, "TFLOP/s of bf16 products, for the last column");
  bool info = false;
  app.add_flag("--info", info, "say which device it is, no more");
  app.add_flag("--dry", options.dry, "small shapes, two repetitions: does it work?");
  CLI11_PARSE(app, argc, argv);
  try {
    if (info) {
      print_info(options.library);
      return 0;
    }
    if (!csv.empty() && (options.csv = std::fopen(csv.c_str(), "w")) == nullptr)
      throw std::runtime_error("cannot write " + csv);
    return run(options, only);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "cuda_kernels_bench: %s\n", e.what());
    return 1;
  }
}
