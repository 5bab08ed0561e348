/* custom_kv_store.c: a KV store of one's own, on a Redis server that several machines may share.
 *
 * usage: custom_kv_store SOCKET selftest          is this a proper store?
 *        custom_kv_store SOCKET MODEL TEXT_FILE   continues the text; what another process has
 *                                                 computed of it comes from the server
 *
 * Work is pipelined: begin_* only queues a command, poll() writes what the socket takes and reads
 * the replies, which come in the order of the commands.  A second connection answers contains() and
 * erase() at once.  When the server goes away, everything under way fails with V4I_E_IO and the
 * engine computes what it needs again; the next piece of work connects anew. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <v4infer/v4infer.h>

enum kind { PUT, GET, PART };

typedef struct work { /* under way, oldest first */
  enum kind kind;
  uint64_t ticket, bytes;
  void* to;
  struct work* next;
} work;

typedef struct store {
  const char* path;
  redisContext *pipe, *ask;
  work *first, **last;
} store;

/* Keys carry a name of their own, so that the server may hold other things too. */
#define PREFIX "v4infer:kv:"
#define KEY_BYTES (sizeof PREFIX - 1 + sizeof(v4i_kv_key))

static void write_key(const v4i_kv_key* k, char* out) {
  memcpy(out, PREFIX, sizeof PREFIX - 1);
  memcpy(out + sizeof PREFIX - 1, k->bytes, sizeof k->bytes);
}

static void hang_up(redisContext** c) {
  if (*c != NULL) redisFree(*c);
  *c = NULL;
}

static int connected(store* s, redisContext** c) {
  if (*c != NULL && (*c)->err == 0) return 1;
  hang_up(c);
  const struct timeval patience = {1, 0}; /* of the connection that is waited for */
  *c = c == &s->pipe ? redisConnectUnixNonBlock(s->path)
                     : redisConnectUnixWithTimeout(s->path, patience);
  if (*c != NULL && (*c)->err == 0 && (c == &s->pipe || redisSetTimeout(*c, patience) == REDIS_OK))
    return 1;
  hang_up(c);
  return 0;
}

/* ---- the functions of v4i_kv_vtable */

static v4i_status begin(store* s, enum kind kind, uint64_t ticket, void* to, uint64_t bytes,
                        int argc, const char** argv, const size_t* lengths) {
  /* A new connection may not overtake what the old one has not reported. */
  if (s->pipe != NULL && s->pipe->err != 0 && s->first != NULL) return V4I_E_IO;
  if (!connected(s, &s->pipe)) return V4I_E_IO;
  work* w = malloc(sizeof *w);
  if (w == NULL) return V4I_E_NO_MEMORY;
  if (redisAppendCommandArgv(s->pipe, argc, argv, lengths) != REDIS_OK) {
    free(w);
    return V4I_E_NO_MEMORY;
  }
  *w = (work){kind, ticket, bytes, to, NULL};
  *s->last = w;
  s->last = &w->next;
  return V4I_OK;
}

static v4i_status begin_put(const v4i_kv_key* k, const void* data, uint64_t bytes, uint64_t ticket,
                            void* user) {
  char key[KEY_BYTES];
  write_key(k, key);
  const char* argv[] = {"SET", key, data, "NX"}; /* what is there has the same bytes */
  const size_t lengths[] = {3, sizeof key, bytes, 2};
  return begin(user, PUT, ticket, NULL, bytes, 4, argv, lengths);
}

static v4i_status begin_get(const v4i_kv_key* k, void* data, uint64_t bytes, uint64_t ticket,
                            void* user) {
  char key[KEY_BYTES];
  write_key(k, key);
  const char* argv[] = {"GET", key};
  const size_t lengths[] = {3, sizeof key};
  return begin(user, GET, ticket, data, bytes, 2, argv, lengths);
}

static v4i_status begin_get_part(const v4i_kv_key* k, uint64_t at, void* data, uint64_t bytes,
                                 uint64_t ticket, void* user) {
  char key[KEY_BYTES], first[24], last[24];
  write_key(k, key);
  const size_t first_length = (size_t)snprintf(first, sizeof first, "%llu", (unsigned long long)at);
  const size_t last_length =
      (size_t)snprintf(last, sizeof last, "%llu", (unsigned long long)(at + bytes - 1));
  const char* argv[] = {"GETRANGE", key, first, last};
  const size_t lengths[] = {8, sizeof key, first_length, last_length};
  return begin(user, PART, ticket, data, bytes, 4, argv, lengths);
}

/* What a reply means for the work that it answers; copies what was read. */
static v4i_kv_done answer(const work* w, const redisReply* r) {
  v4i_kv_done done = {w->ticket, V4I_E_IO, 0, 0};
  if (r->type == REDIS_REPLY_ERROR) {
    if (strncmp(r->str, "OOM", 3) == 0) done.status = V4I_E_NO_MEMORY;
  } else if (w->kind == PUT) {
    done.status = V4I_OK; /* OK, or nil: it was there */
    done.bytes = w->bytes;
  } else if (r->type == REDIS_REPLY_NIL || (w->kind == PART && r->len < w->bytes)) {
    done.status = V4I_E_STATE;
  } else if (r->type == REDIS_REPLY_STRING) {
    done.status = r->len > w->bytes ? V4I_E_INVALID : V4I_OK;
    done.bytes = r->len;
    if (done.status == V4I_OK) memcpy(w->to, r->str, r->len);
  }
  return done;
}

static void report(store* s, v4i_kv_done done, v4i_kv_done* to, size_t* count) {
  work* w = s->first;
  s->first = w->next;
  if (s->first == NULL) s->last = &s->first;
  free(w);
  to[(*count)++] = done;
}

/* Writes and reads what the socket has room for and has; 0 when the connection is broken. */
static int exchange(store* s, int* wants_to_write) {
  int all_written = 0;
  if (s->pipe == NULL || s->pipe->err != 0) return 0;
  if (redisBufferWrite(s->pipe, &all_written) != REDIS_OK) return 0;
  *wants_to_write = !all_written;
  return redisBufferRead(s->pipe) == REDIS_OK;
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static v4i_status poll_store(v4i_kv_done* done, size_t cap, size_t* count, uint64_t timeout_ns,
                             void* user) {
  store* s = user;
  const uint64_t end = now_ns() + timeout_ns;
  *count = 0;
  while (s->first != NULL) {
    int wants_to_write = 0;
    void* reply = NULL;
    const int alive = exchange(s, &wants_to_write);
    while (s->first != NULL && *count < cap && s->pipe != NULL) {
      if (redisReaderGetReply(s->pipe->reader, &reply) != REDIS_OK) s->pipe->err = REDIS_ERR_OTHER;
      if (s->pipe->err != 0 || reply == NULL) break;
      report(s, answer(s->first, reply), done, count);
      freeReplyObject(reply);
    }
    while (!alive && s->first != NULL && *count < cap)
      report(s, (v4i_kv_done){s->first->ticket, V4I_E_IO, 0, 0}, done, count);
    const uint64_t now = now_ns();
    if (*count > 0 || now >= end || s->first == NULL) break;
    struct pollfd p = {s->pipe->fd, (short)(wants_to_write ? POLLIN | POLLOUT : POLLIN), 0};
    poll(&p, 1, (int)((end - now + 999999) / 1000000));
  }
  return V4I_OK;
}

/* One command and its integer reply, at once. */
static v4i_status ask(store* s, const char* command, const v4i_kv_key* k, long long* result) {
  char key[KEY_BYTES];
  write_key(k, key);
  if (!connected(s, &s->ask)) return V4I_E_IO;
  redisReply* r = redisCommand(s->ask, command, key, (size_t)sizeof key);
  if (r == NULL) return V4I_E_IO;
  const int ok = r->type == REDIS_REPLY_INTEGER;
  *result = r->integer;
  freeReplyObject(r);
  return ok ? V4I_OK : V4I_E_IO;
}

static v4i_status contains(const v4i_kv_key* k, int32_t* yes, void* user) {
  long long n = 0;
  const v4i_status status = ask(user, "EXISTS %b", k, &n);
  *yes = n > 0;
  return status;
}

static v4i_status erase(const v4i_kv_key* k, void* user) {
  long long n = 0;
  return ask(user, "DEL %b", k, &n);
}

static void close_store(void* user) {
  store* s = user;
  hang_up(&s->pipe);
  hang_up(&s->ask);
}

/* ---- the program */

static v4i_status selftest(v4i_kv_store* tier, v4i_error** error) {
  v4i_buffer* report_text = NULL;
  v4i_status status = v4i_kv_store_selftest(tier, now_ns(), &report_text, error);
  if (status == V4I_OK && v4i_buffer_size(report_text) > 0) status = V4I_E_IO;
  printf("%.*s", (int)v4i_buffer_size(report_text), (const char*)v4i_buffer_data(report_text));
  if (status == V4I_OK) printf("the store passes\n");
  v4i_buffer_release(report_text);
  return status;
}

static char* read_text(const char* path, size_t* bytes) {
  enum { MOST = 1 << 22 };
  FILE* f = fopen(path, "rb");
  char* text = f != NULL ? malloc(MOST) : NULL;
  *bytes = text != NULL ? fread(text, 1, MOST, f) : 0;
  if (f != NULL) fclose(f);
  return text;
}

static v4i_status say(v4i_model* model, v4i_kv_store* tier, const char* path, v4i_error** error) {
  v4i_kv_store* const tiers[] = {tier};
  v4i_session_options so = {.struct_size = sizeof so, .tiers = tiers, .tier_count = 1};
  v4i_sampler_options po = {.struct_size = sizeof po, .greedy = 1};
  v4i_generate_options run = {.struct_size = sizeof run, .max_tokens = 24};
  v4i_session_info info = {.struct_size = sizeof info};
  v4i_session_metrics metrics = {.struct_size = sizeof metrics};
  v4i_session* session = NULL;
  v4i_sampler* greedy = NULL;
  v4i_buffer* text = NULL;
  size_t bytes = 0;
  char* prompt = read_text(path, &bytes);
  v4i_status status;
  if ((status = v4i_session_create(model, &so, &session, error)) == V4I_OK &&
      (status = v4i_sampler_create(model, &po, &greedy, error)) == V4I_OK &&
      (status = v4i_session_set_sampler(session, greedy, NULL, error)) == V4I_OK &&
      (status = v4i_session_append_text(session, prompt, bytes, V4I_TOK_ADD_BOS, error)) ==
          V4I_OK &&
      (status = v4i_session_generate(session, &run, &text, NULL, error)) == V4I_OK &&
      (status = v4i_session_get_info(session, &info, error)) == V4I_OK &&
      (status = v4i_session_get_metrics(session, &metrics, error)) == V4I_OK)
    printf("%.*s\n[%llu tokens came from the store, %llu were computed]\n",
           (int)v4i_buffer_size(text), (const char*)v4i_buffer_data(text),
           (unsigned long long)info.reused_tokens, (unsigned long long)metrics.prefill_tokens);
  v4i_buffer_release(text);
  v4i_sampler_release(greedy);
  v4i_session_release(session); /* blocks that are still under way are waited for */
  free(prompt);
  return status;
}

int main(int argc, char** argv) {
  if (argc != 4 && !(argc == 3 && strcmp(argv[2], "selftest") == 0)) {
    fprintf(stderr, "usage: custom_kv_store SOCKET selftest | SOCKET MODEL TEXT_FILE\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN); /* a server that goes away is an error like others */
  store redis = {.path = argv[1]};
  redis.last = &redis.first;
  const v4i_kv_vtable table = {.struct_size = sizeof table,
                               .name = "Redis",
                               .begin_put = begin_put,
                               .begin_get = begin_get,
                               .poll = poll_store,
                               .contains = contains,
                               .erase = erase,
                               .close = close_store,
                               .begin_get_part = begin_get_part};
  v4i_engine_options eo = {.struct_size = sizeof eo, .abi_version = V4I_ABI_VERSION};
  v4i_model_options mo = {.struct_size = sizeof mo, .path = argv[2]};
  v4i_engine* engine = NULL;
  v4i_model* model = NULL;
  v4i_kv_store* tier = NULL;
  v4i_error* error = NULL;
  v4i_status status;
  if ((status = v4i_engine_create(&eo, &engine, &error)) == V4I_OK &&
      (status = v4i_kv_store_wrap(engine, &table, &redis, &tier, &error)) == V4I_OK) {
    if (argc == 3)
      status = selftest(tier, &error);
    else if ((status = v4i_model_open(engine, &mo, &model, &error)) == V4I_OK)
      status = say(model, tier, argv[3], &error);
  }
  if (error != NULL) fprintf(stderr, "custom_kv_store: %s\n", v4i_error_message(error));
  v4i_error_free(error);
  v4i_model_release(model);
  v4i_kv_store_release(tier);
  v4i_engine_release(engine);
  return status != V4I_OK;
}
