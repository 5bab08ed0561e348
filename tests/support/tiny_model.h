// Tiny random models for tests, written by tests/oracle/make_tiny_v4.py and its
// siblings.
//
// A model is made once per (seed, tokens, kind) and kept in the build folder, so
// treat it as read-only: a test that wants a damaged one copies it first
// (copy_model).
#pragma once

#include <string>

namespace v4i::test {

// Folder with model.safetensors, model.safetensors.index.json, config.json and
// ids.json (`tokens` token ids).  4 layers of ratios 0, 4, 128, 4; one hash layer;
// 8 experts of which 2 run; width 256; vocabulary 512; one MTP block or, with
// `dspark`, three DSpark stages.
std::string make_tiny(int seed, int tokens = 300, bool dspark = false);

// V4-Pro's structure at tiny widths, 119 MB: 61 layers of its ratios, three hash layers,
// 128 heads in 16 groups, 384 experts of which 6 run, one MTP block; width 64.
std::string make_tiny_pro(int seed, int tokens = 160);

// V4.1's structure at tiny widths, by tests/oracle/make_tiny_v41.py: every role of a layer occurs.
// case_text.json and case_image.json hold `tokens` tokens each, engram_token_map.json the classes.
std::string make_tiny_v41(int seed, int tokens = 300, bool engram = true);

// make_tiny(0, 64, true) or make_tiny_v41(0), with weights that say which token comes next: behind
// x >= 2 comes 2 + (x + 35) % 510; its DSpark stages know it too, but for every fifth x.
std::string make_repeating(bool v41);

// What the environment says, or what was said when the tests were built.  For tests that run where
// they were not built: V4INFER_TEST_SOURCE_DIR (the repository), V4INFER_TEST_FIXTURES (a folder to
// write to), V4INFER_TEST_PYTHON, V4INFER_TEST_CUDA_LIBRARY.
std::string from_environment(const char* name, const char* otherwise);
std::string source_dir();  // the repository

// The Python with numpy that `make_tiny` and the oracle comparisons run.
std::string python();

// A fresh empty folder that is removed with everything in it at the end of scope.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Copies the files of a model folder (not recursive) into `to`, which exists.
void copy_model(const std::string& from, const std::string& to);

std::string read_file(const std::string& path);
void write_file(const std::string& path, const std::string& bytes);

}  // namespace v4i::test
