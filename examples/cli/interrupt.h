// Ctrl-C: stops the answer that is being written, not the program.
#pragma once

#include <v4infer/session.hpp>

namespace cli {

// Installs the handler of SIGINT.  While a Running exists the signal cancels it;
// otherwise it only breaks off the line that is being typed.  Three in a row without
// any effect end the program.
void install_interrupt();

// An answer in the making: its cancel token is what Ctrl-C signals.
class Running {
 public:
  Running();
  ~Running();
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  v4i_cancel* token() const { return cancel_.get(); }

 private:
  v4infer::Cancel cancel_;
};

}  // namespace cli
