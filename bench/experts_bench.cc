// Decode with memory for a share of the experts, the others on the disk, as CSV.
//
// The limit is what is missing at the disk's rate, and the rest: a token's time is compared with
// the bytes that it read by the rate of reading experts with nothing else to do (direct, as many
// requests as the read queue has under way), and the time of a token whose experts are all
// there.  Both are measured in turns with the tokens.  The weights of the slice are random, so its
// router spreads tokens evenly: what fits is hit, and neither heat nor guesses find anything.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>

#include "bench/support/whole.h"
#include "lib/experts/expert_files.h"
#include "lib/store/slot_memory.h"

namespace {

using namespace v4i;
using Clock = std::chrono::steady_clock;

std::vector<int> g_shares = {50, 25, 10};
int g_tokens = 32;
int g_warm = 64;
bool g_guesses = true;

constexpr int kSlice = 8;  // tokens between two looks at the disk

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Reads experts at random, nothing else.
class Disk {
 public:
  explicit Disk(session::Context& context)
      : files_(model::Model::open(context.model().path())), reads_(context.engine().reads()) {
    for (Item& i : items_) {
      i.memory = store::SlotMemory(budget_, files_.slot_bytes(), 0);
      i.requests = std::make_unique<store::ReadRequest[]>(files_.most_reads());
    }
  }
  double rate() {
    const auto start = Clock::now();
    std::size_t bytes = 0;
    std::vector<store::ReadRequest*> all;
    for (Item& i : items_) {
      const experts::ExpertId which{
          static_cast<int>(random_() % static_cast<unsigned>(files_.layers())),
          static_cast<std::int32_t>(random_() % static_cast<unsigned>(files_.experts()))};
      const std::size_t n =
          files_.plan(which, i.memory.data(), {i.requests.get(), files_.most_reads()});
      for (std::size_t r = 0; r < n; ++r) all.push_back(&i.requests[r]);
    }
    reads_->submit(all);
    for (store::ReadRequest* r : all) {
      while (!reads_->wait(*r, 1'000'000'000)) {
      }
      bytes += r->read;
    }
    return static_cast<double>(bytes) / seconds_since(start);
  }

 private:
  struct Item {
    store::SlotMemory memory;
    std::unique_ptr<store::ReadRequest[]> requests;
  };
  Budget budget_;
  experts::ExpertFiles files_;
  std::shared_ptr<store::ReadQueue> reads_;
  std::minstd_rand random_{7};
  Item items_[12];
};

std::shared_ptr<session::Context> open_with(const bench::Options& options, int share) {
  return bench::open(options, 64, [&](session::Engine&, session::OpenOptions& o) {
    o.experts = share > 0 ? experts::Placement::kCached : experts::Placement::kMapped;
    o.expert_guesses = g_guesses;
    if (share <= 0) return;
    const auto model = model::Model::open(options.model);
    const auto all =
        model->weights().layers.size() * static_cast<std::size_t>(model->config().experts);
    o.expert_slots = std::max<std::size_t>(all * static_cast<std::size_t>(share) / 100, 1);
  });
}

// One session that decodes.
class Decoder {
 public:
  explicit Decoder(std::shared_ptr<session::Context> context)
      : context_(std::move(context)),
        state_(context_->layout(), context_->cache(), context_->identity()),
        ids_(bench::some_tokens(4096, context_->vocab(), 5)),
        logits_(static_cast<std::size_t>(context_->vocab())) {}
  double step() {
    const auto start = Clock::now();
    const forward::Item item{&state_, {&ids_[at_++ % ids_.size()], 1}, logits_.data()};
    context_->forward().run({&item, 1}, nullptr);
    return seconds_since(start);
  }
  experts::Stats stats() const { return context_->experts().stats(); }

 private:
  std::shared_ptr<session::Context> context_;
  kv::State state_;
  std::vector<std::int32_t> ids_;
  std::vector<float> logits_;
  std::size_t at_ = 0;
};

void measure(const bench::Options& options, int share, Decoder& resident, Disk& disk) {
  Decoder cached(open_with(options, share));
  for (int i = 0; i < g_warm; ++i) cached.step();
  const experts::Stats before = cached.stats();
  std::vector<double> tokens, rests, rates, shares;
  experts::Stats seen = before;
  double rate = disk.rate();
  for (int i = 0; i < g_tokens; i += kSlice) {
    double spent = 0, rest = 0;
    for (int k = 0; k < kSlice; ++k) {
      tokens.push_back(cached.step());
      spent += tokens.back();
    }
    for (int k = 0; k < kSlice; ++k) {
      rests.push_back(resident.step());
      rest += rests.back();
    }
    const double after = disk.rate();
    rates.push_back((rate + after) / 2);
    rate = after;
    const experts::Stats now = cached.stats();
    shares.push_back((static_cast<double>(now.bytes_read - seen.bytes_read) / rates.back() + rest) /
                     spent);
    seen = now;
  }
  const auto n = static_cast<double>(tokens.size());
  const auto of = [&](auto field) { return static_cast<double>(seen.*field - before.*field); };
  const double acquired =
      of(&experts::Stats::hits) + of(&experts::Stats::late) + of(&experts::Stats::misses);
  double all = 0;
  for (const double t : tokens) all += t;
  std::printf("experts,%d,%llu,%.3f,%.2f,%.2f,%.4f,%.0f,%.0f,%.1f,%.3f\n", share,
              static_cast<unsigned long long>(seen.slots), n / all, 1e3 * cli::median(tokens),
              1e3 * cli::median(rests), of(&experts::Stats::hits) / acquired,
              of(&experts::Stats::bytes_read) / n, cli::median(rates),
              of(&experts::Stats::wait_ns) / n / 1e6, cli::median(shares));
  std::fflush(stdout);
}

void run(bench::Program& program) {
  if (program.options().header)
    std::puts(
        "bench,share,slots,tokens_per_s,ms,ms_resident,hits,bytes_per_token,disk_bytes_per_s,"
        "wait_ms,share_of_bound");
  const auto mapped = open_with(program.options(), 0);
  Disk disk(*mapped);
  Decoder resident(mapped);
  for (int i = 0; i < g_warm; ++i) resident.step();
  for (const int share : g_shares) measure(program.options(), share, resident, disk);
}

}  // namespace

int main(int argc, char** argv) {
  v4i::bench::Program program("experts_bench",
                              "decode with memory for some of the experts, as CSV");
  program.app().add_option("--shares", g_shares, "per cent of the experts")->delimiter(',');
  program.app().add_option("--tokens", g_tokens, "measured");
  program.app().add_option("--warm", g_warm, "tokens before");
  program.app().add_flag("!--no-guesses", g_guesses, "do not read what the next layer may need");
  return program.run(argc, argv, run);
}
