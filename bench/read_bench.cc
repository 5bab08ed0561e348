// Reading memory with all threads: anonymous memory in huge and in small pages, and a
// file of the model as the engine maps it.  Says how much of the read test a mapped
// model can reach at best.  Alternating rounds, median of each.
#include <sys/mman.h>

#include <barrier>
#include <chrono>
#include <cstdio>
#include <thread>

#include "bench/support/whole.h"
#include "examples/cli/peak_loops.h"
#include "lib/base/error.h"

namespace {

using namespace v4i;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kShare = std::size_t{192} << 20;

double rate(const std::vector<const std::byte*>& shares) {
  const auto loop = cli::peak_loops().read;
  std::barrier start(static_cast<std::ptrdiff_t>(shares.size()) + 1);
  std::vector<std::thread> workers;
  std::vector<std::uint64_t> sums(shares.size());
  for (std::size_t t = 0; t < shares.size(); ++t)
    workers.emplace_back([&, t] {
      start.arrive_and_wait();
      sums[t] = loop(shares[t], kShare);
    });
  start.arrive_and_wait();
  const auto begin = Clock::now();
  for (std::thread& w : workers) w.join();
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  return static_cast<double>(kShare * shares.size()) / seconds;
}

std::vector<const std::byte*> anonymous(std::size_t threads, int advice) {
  std::vector<const std::byte*> out;
  for (std::size_t t = 0; t < threads; ++t) {
    void* p = ::mmap(nullptr, kShare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    ::madvise(p, kShare, advice);
    std::fill_n(static_cast<unsigned char*>(p), kShare, static_cast<unsigned char>(t + 1));
    out.push_back(static_cast<const std::byte*>(p));
  }
  return out;
}

// As many places in the last layer's routed experts, which lie one after the other.
std::vector<const std::byte*> mapped(const session::Context& context, std::size_t threads) {
  const auto& experts = context.model().weights().layers.back().ffn.experts;
  const std::uint64_t all = model::expert_cost(context.model()).bytes * experts.size();
  if (all < 2 * (threads + 1) * kShare)
    fail(Code::kInvalid, "read_bench needs a layer of experts larger than {} bytes",
         2 * (threads + 1) * kShare);
  std::vector<const std::byte*> out;
  for (std::size_t t = 0; t < threads; ++t)
    out.push_back(
        static_cast<const std::byte*>(experts[t * experts.size() / (2 * threads)].w1.data));
  return out;
}

void read(bench::Program& program) {
  const auto context = bench::open(program.options(), 1);
  const auto threads = static_cast<std::size_t>(context->engine().pool().size());
  const struct {
    const char* name;
    std::vector<const std::byte*> shares;
  } kinds[] = {{"huge", anonymous(threads, MADV_HUGEPAGE)},
               {"small", anonymous(threads, MADV_NOHUGEPAGE)},
               {"model", mapped(*context, threads)}};
  std::vector<double> rates[3];
  for (int round = -1; round < 8 * program.options().repeat; ++round)
    for (std::size_t k = 0; k < 3; ++k) {
      const double r = rate(kinds[k].shares);
      if (round >= 0) rates[k].push_back(r);
    }
  std::puts("pages,read_bytes_per_s");
  for (std::size_t k = 0; k < 3; ++k)
    std::printf("%s,%.4g\n", kinds[k].name, cli::median(rates[k]));
}

}  // namespace

int main(int argc, char** argv) {
  v4i::bench::Program program("read_bench", "memory reads by kind of page, as CSV");
  return program.run(argc, argv, read);
}
