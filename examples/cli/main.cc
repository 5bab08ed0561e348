// v4infer: the command.  Exit codes: 0 done, 1 failed (a sentence on stderr), 2 wrong
// usage.
#include <cstdio>

#include "common.h"
#include "interrupt.h"

int main(int argc, char** argv) {
  CLI::App app{"v4infer - run DeepSeek-V4 models", "v4infer"};
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("v4infer ") + v4i_version_string());
  cli::add_chat(app);
  cli::add_run(app);
  cli::add_eval(app);
  cli::add_tokens(app);
  cli::add_inspect(app);
  cli::add_plan(app);
  cli::add_bench(app);
  try {
    cli::install_interrupt();
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "v4infer: %s\n", e.what());
    return 1;
  }
  return 0;
}
