// Tiny models and temporary folders; see tiny_model.h.
#include "tests/support/tiny_model.h"

#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "lib/base/hash.h"

#ifndef V4I_PYTHON
#define V4I_PYTHON "/usr/bin/python3"  // Debian's, where python3-numpy lives
#endif

namespace v4i::test {

namespace fs = std::filesystem;

std::string from_environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

std::string source_dir() { return from_environment("V4INFER_TEST_SOURCE_DIR", V4I_SOURCE_DIR); }
std::string python() { return from_environment("V4INFER_TEST_PYTHON", V4I_PYTHON); }

namespace {

std::string fixtures() { return from_environment("V4INFER_TEST_FIXTURES", V4I_FIXTURE_DIR); }

// The folder that `script` of tests/oracle fills when it is called with it and `arguments`.
std::string make(const char* script, const std::string& name, const std::string& arguments) {
  const std::string path = source_dir() + "/tests/oracle/" + script;
  const std::string text = read_file(path);
  // The script's checksum is in the name: a changed script makes new models.
  const std::string whole =
      fmt::format("{}-{:08x}", name, checksum64(text.data(), text.size()) & 0xffffffffu);
  const fs::path folder = fs::path(fixtures()) / whole;
  if (fs::exists(folder)) return folder.string();
  // Made beside its place and renamed, because test programs run side by side.
  const fs::path part = fs::path(fixtures()) / fmt::format("{}.part{}", whole, ::getpid());
  fs::create_directories(part);
  const std::string command = fmt::format("'{}' '{}' '{}' {} > '{}'", python(), path, part.string(),
                                          arguments, (part / "log.txt").string());
  if (std::system(command.c_str()) != 0)
    throw std::runtime_error("cannot make a tiny model: " + command);
  std::error_code error;
  fs::rename(part, folder, error);
  if (error) fs::remove_all(part);  // another program was first
  if (!fs::exists(folder)) throw std::runtime_error("cannot make " + folder.string());
  return folder.string();
}

// `kind`: the script's last argument, empty for the model with an MTP block.
std::string make_v4(int seed, int tokens, const std::string& kind) {
  return make("make_tiny_v4.py",
              fmt::format("tiny-{}-{}-{}", seed, tokens, kind.empty() ? "mtp" : kind),
              fmt::format("{} {} {}", seed, tokens, kind));
}

}  // namespace

std::string make_tiny(int seed, int tokens, bool dspark) {
  return make_v4(seed, tokens, dspark ? "dspark" : "");
}

std::string make_tiny_pro(int seed, int tokens) { return make_v4(seed, tokens, "pro"); }

std::string make_tiny_v41(int seed, int tokens, bool engram) {
  return make("make_tiny_v41.py",
              fmt::format("tiny-v41-{}-{}{}", seed, tokens, engram ? "" : "-no-engram"),
              fmt::format("--seed {} --tokens {}{}", seed, tokens, engram ? "" : " --no-engram"));
}

std::string make_repeating(bool v41) {
  const std::string source = v41 ? make_tiny_v41(0) : make_tiny(0, 64, true);
  return make("make_repeating.py", v41 ? "repeating-v41" : "repeating-v4", "'" + source + "'");
}

TempDir::TempDir() {
  fs::create_directories(fixtures());
  path_ = fixtures() + "/temp-XXXXXX";
  if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("cannot make " + path_);
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void copy_model(const std::string& from, const std::string& to) {
  for (const auto& entry : fs::directory_iterator(from))
    if (entry.is_regular_file())
      fs::copy_file(entry.path(), fs::path(to) / entry.path().filename(),
                    fs::copy_options::overwrite_existing);
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!out) throw std::runtime_error("cannot write " + path);
}

}  // namespace v4i::test
