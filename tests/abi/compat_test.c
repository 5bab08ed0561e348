/* An old program and a new library: built against each released header, run with the
 * library of today.  Checks the rules that hold for every function (v4infer.h, top). */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <v4infer/v4infer.h>

static int failures = 0;
#define CHECK(condition) check((condition), #condition, __LINE__)
static void check(int ok, const char* text, int line) {
  if (ok) return;
  ++failures;
  fprintf(stderr, "compat_test.c:%d: %s\n", line, text);
}

static void good_options(v4i_engine_options* o) {
  V4I_INIT(o);
  o->abi_version = V4I_ABI_VERSION;
  o->thread_count = 1;
}

/* Expects `want` from engine_create and that a failure has a sentence and no engine. */
static void expect_create(const v4i_engine_options* o, v4i_status want, const char* word) {
  v4i_error* err = NULL;
  v4i_engine* engine = NULL;
  const v4i_status got = v4i_engine_create(o, &engine, &err);
  if (got != want)
    fprintf(stderr, "%s: %s\n", v4i_status_name(got), err ? v4i_error_message(err) : "no message");
  CHECK(got == want);
  CHECK((engine != NULL) == (want == V4I_OK));
  CHECK((err != NULL) == (want != V4I_OK));
  if (err != NULL) {
    CHECK(v4i_error_code(err) == want);
    CHECK(strstr(v4i_error_message(err), word) != NULL);
  }
  v4i_error_free(err);
  v4i_engine_release(engine);
}

static void versions(void) {
  int32_t s;
  CHECK(v4i_abi_version() == V4I_ABI_VERSION);
  CHECK(strncmp(v4i_version_string(), "1.", 2) == 0);
  CHECK(v4i_build_info()[0] == '{');
  for (s = 1; s >= -100; --s) CHECK(v4i_status_name(s) != NULL && v4i_status_name(s)[0] != 0);
  CHECK(v4i_get_proc("v4i_abi_version") == (v4i_proc)v4i_abi_version);
  CHECK(v4i_get_proc("v4i_no_such_function") == NULL);
  CHECK(v4i_get_proc(NULL) == NULL);
}

/* The tail is 1024 bytes, far past whatever today's structs have grown to. */
static void inputs_grow(void) {
  struct {
    v4i_engine_options known;
    char later[1024];
  } newer;
  v4i_engine_options o;
  good_options(&o);
  expect_create(&o, V4I_OK, "");
  o.struct_size = 0;
  expect_create(&o, V4I_E_ABI, "struct_size");
  o.struct_size = (uint32_t)sizeof o - 8; /* smaller than release 1.0 */
  expect_create(&o, V4I_E_ABI, "struct_size");
  o.struct_size = 1u << 30;
  expect_create(&o, V4I_E_ABI, "struct_size");
  good_options(&o);
  o.abi_version = V4I_ABI_VERSION + 1;
  expect_create(&o, V4I_E_ABI, "abi_version");

  memset(&newer, 0, sizeof newer);
  good_options(&newer.known);
  newer.known.struct_size = sizeof newer;
  expect_create(&newer.known, V4I_OK, "");
  newer.later[1023] = 1; /* an option of the future, set */
  expect_create(&newer.known, V4I_E_UNSUPPORTED, "newer");
}

static void bad_values_are_refused(void) {
  v4i_engine_options o;
  v4i_ext unknown;
  good_options(&o);
  V4I_INIT(&unknown);
  unknown.type = 0x7fffffffu;
  o.next = &unknown;
  expect_create(&o, V4I_E_UNSUPPORTED, "");
  good_options(&o);
  o.thread_count = -1;
  expect_create(&o, V4I_E_INVALID, "thread_count");
  good_options(&o);
  o.backend = "abacus";
  expect_create(&o, V4I_E_UNSUPPORTED, "abacus");
  good_options(&o);
  o.force_isa = "abacus";
  expect_create(&o, V4I_E_UNSUPPORTED, "abacus");
}

static void outputs_grow(v4i_engine* engine) {
  struct {
    v4i_memory_stats known;
    unsigned char later[1024];
  } newer;
  v4i_memory_stats m;
  v4i_error* err = NULL;
  size_t i, sum = 0;
  memset(&newer, 0xAA, sizeof newer);
  newer.known.struct_size = sizeof newer;
  CHECK(v4i_engine_memory(engine, &newer.known, &err) == V4I_OK && err == NULL);
  CHECK(newer.known.struct_size == sizeof newer);
  for (i = 0; i < sizeof newer.later; ++i) sum += newer.later[i];
  CHECK(sum == 0); /* the unknown tail reads as zero */

  memset(&m, 0xAA, sizeof m);
  m.struct_size = 4; /* smaller than release 1.0: refused, not written */
  CHECK(v4i_engine_memory(engine, &m, NULL) == V4I_E_ABI);
  CHECK(m.struct_size == 4 && m.device_weights == 0xAAAAAAAAAAAAAAAAu);
}

static void failures_touch_nothing(v4i_engine* engine) {
  v4i_model_options o;
  v4i_model* const untouched = (v4i_model*)&failures;
  v4i_model* model = untouched;
  v4i_error* err = NULL;
  V4I_INIT(&o);
  o.path = "/no/such/place/mod\xc3\xa8le";
  CHECK(v4i_model_open(engine, &o, &model, &err) == V4I_E_IO);
  CHECK(model == untouched);
  CHECK(err != NULL && strstr(v4i_error_message(err), "/no/such/place/mod\xc3\xa8le") != NULL);
  v4i_error_free(err);
  CHECK(v4i_model_open(engine, &o, &model, NULL) == V4I_E_IO); /* err may be NULL */
  CHECK(v4i_model_open(NULL, &o, &model, NULL) == V4I_E_INVALID);
  CHECK(v4i_model_open(engine, &o, NULL, NULL) == V4I_E_INVALID);
  CHECK(v4i_model_open(engine, NULL, &model, NULL) == V4I_E_INVALID);
  o.path = NULL;
  CHECK(v4i_model_open(engine, &o, &model, NULL) == V4I_E_INVALID);
  CHECK(model == untouched);
}

static void null_is_nothing(void) {
  v4i_error_free(NULL);
  v4i_buffer_release(NULL);
  v4i_cancel_release(NULL);
  v4i_engine_release(NULL);
  v4i_model_release(NULL);
  v4i_session_release(NULL);
  v4i_sampler_release(NULL);
  v4i_grammar_release(NULL);
  v4i_kv_store_release(NULL);
  CHECK(v4i_buffer_size(NULL) == 0 && v4i_buffer_data(NULL) == NULL);
  CHECK(v4i_error_code(NULL) == V4I_OK);
  CHECK(v4i_error_message(NULL) != NULL);
}

/* Threads do not survive fork(): the child is told so, and may still release. */
static void fork_is_an_error_not_a_hang(v4i_engine* engine) {
  int status = -1;
  const pid_t child = fork();
  if (child == 0) {
    v4i_memory_stats m;
    V4I_INIT(&m);
    _exit(v4i_engine_memory(engine, &m, NULL) == V4I_E_STATE ? 0 : 1);
  }
  CHECK(child > 0 && waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void) {
  v4i_engine_options o;
  v4i_engine* engine = NULL;
  versions();
  null_is_nothing();
  inputs_grow();
  bad_values_are_refused();
  good_options(&o);
  CHECK(v4i_engine_create(&o, &engine, NULL) == V4I_OK);
  if (engine != NULL) {
    outputs_grow(engine);
    failures_touch_nothing(engine);
    fork_is_an_error_not_a_hang(engine);
  }
  v4i_engine_release(engine);
  if (failures == 0)
    printf("ok: built with %d.%d, run with %s\n", V4I_VERSION_MAJOR, V4I_VERSION_MINOR,
           v4i_version_string());
  return failures != 0;
}
