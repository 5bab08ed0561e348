// Ctrl-C; see interrupt.h.
#include "interrupt.h"

#include <signal.h>

#include <atomic>

#include "common.h"

namespace cli {
namespace {

std::atomic<v4i_cancel*> g_cancel{nullptr};
std::atomic<int> g_ignored{0};

void on_interrupt(int signal_number) {
  if (v4i_cancel* c = g_cancel.load()) {
    v4i_cancel_signal(c);
  } else if (g_ignored.fetch_add(1) >= 2) {
    ::signal(signal_number, SIG_DFL);
    ::raise(signal_number);
  }
}

}  // namespace

void install_interrupt() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;  // no SA_RESTART: a read of a line ends
  ::sigaction(SIGINT, &action, nullptr);
}

Running::Running() : cancel_(take(v4infer::Cancel::create())) {
  g_ignored = 0;
  g_cancel = cancel_.get();
}
Running::~Running() { g_cancel = nullptr; }

}  // namespace cli
