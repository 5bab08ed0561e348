/* v4infer.h - the C interface of libv4infer.  C99, no dependencies, 64-bit.
 *
 * An engine owns devices, threads and memory budgets.  A model is immutable
 * weights plus a tokenizer.  A session is one mutable timeline of tokens and
 * its KV state.  Everything else is a value or a plug-in.
 *
 *   engine --> model --> session          (child keeps its parent alive)
 *
 * RULES THAT HOLD FOR EVERY FUNCTION
 *  Memory    x_create/x_open gives you one reference; x_release drops it and
 *            accepts NULL.  Release order never matters.
 *  Errors    0 is success.  `err` is always last and may be NULL.  On failure
 *            out-parameters are untouched, and *err (if given) is a message
 *            that you free with v4i_error_free().
 *  Structs   Fill with V4I_INIT.  All-zero means "default" for every field;
 *            reserved fields stay zero.
 *            Arrays of sized structs are walked by the first struct_size.
 *            Structs without struct_size are frozen for ever.
 *  Text      UTF-8, pointer + byte length; V4I_ZSTR means NUL-terminated.
 *  Threads   engine, model, sampler, cancel: any thread.  session: one thread
 *            at a time, any thread; a second concurrent call returns
 *            V4I_E_BUSY.  Callbacks run on the thread that is inside a v4i_
 *            call, never on a thread of the library.  Inside one, only reading
 *            calls on that session are allowed (others: V4I_E_BUSY).
 *  Waiting   Computing calls (prefill, step, generate, eval, step_many) wait for
 *            their turn on the engine; a cancel token ends that.  Other calls do
 *            their own work at once, but where it says "Waits"; reading files takes
 *            its time.  No release waits for computing.
 *  Process   The library never exits, aborts, prints, raises, installs signal
 *            handlers or changes the locale.  Its threads block all signals but
 *            those of faults.  The caller's FP environment (rounding, subnormals,
 *            exceptions) changes no result and is the caller's again in callbacks
 *            and on return.
 */
#ifndef V4INFER_H_
#define V4INFER_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(V4I_STATIC)
#define V4I_API
#elif defined(_WIN32)
#ifdef V4I_BUILD
#define V4I_API __declspec(dllexport)
#else
#define V4I_API __declspec(dllimport)
#endif
#else
#define V4I_API __attribute__((visibility("default")))
#endif

#define V4I_VERSION_MAJOR 1
#define V4I_VERSION_MINOR 0
#define V4I_VERSION_PATCH 0
#define V4I_ABI_VERSION 1u /* the number in libv4infer.so.1 / v4infer-1.dll */
#define V4I_ZSTR ((size_t)-1)

/* Zero a struct and record its size as this header knows it. */
#define V4I_INIT(ptr) \
  (v4i_zero_((ptr), sizeof *(ptr)), (ptr)->struct_size = (uint32_t)sizeof *(ptr))
static inline void v4i_zero_(void* p, size_t n) {
  unsigned char* b = (unsigned char*)p;
  while (n--) *b++ = 0;
}

/* ---- 1. Status, errors, version ---------------------------------------- */

typedef int32_t v4i_status; /* an int, not an enum: enum width is not ABI */
#define V4I_OK 0
#define V4I_E_INVALID (-1)     /* an argument broke a documented rule */
#define V4I_E_ABI (-2)         /* header and library disagree */
#define V4I_E_NO_MEMORY (-3)   /* host, device or budget exhausted */
#define V4I_E_IO (-4)          /* file, disk tier or user KV store failed */
#define V4I_E_FORMAT (-5)      /* damaged or unknown model / session file */
#define V4I_E_UNSUPPORTED (-6) /* valid, but not by this build/model/device */
#define V4I_E_CANCELLED (-7)   /* cancel token or callback said stop */
#define V4I_E_BUSY (-8)        /* concurrent use of a session */
#define V4I_E_STATE (-9)       /* right call, wrong moment */
#define V4I_E_CONTEXT_FULL (-10)
#define V4I_E_DEVICE (-11)     /* device lost; session dead, engine usable */
#define V4I_E_INTERNAL (-12)   /* a bug in the library; please report */

typedef struct v4i_error v4i_error;
typedef void (*v4i_proc)(void);

V4I_API uint32_t v4i_abi_version(void);
V4I_API const char* v4i_version_string(void); /* static, "1.0.0+gabcdef" */
V4I_API const char* v4i_build_info(void);     /* static JSON: compiler, ISA, CUDA */
V4I_API v4i_proc v4i_get_proc(const char* name); /* NULL when absent */
V4I_API const char* v4i_status_name(v4i_status s);
V4I_API v4i_status v4i_error_code(const v4i_error* e);
V4I_API const char* v4i_error_message(const v4i_error* e); /* owned by e */
V4I_API void v4i_error_free(v4i_error* e);

/* ---- 2. Small shared types ---------------------------------------------- */

typedef int32_t v4i_token;
typedef struct v4i_engine v4i_engine;
typedef struct v4i_model v4i_model;
typedef struct v4i_session v4i_session;
typedef struct v4i_sampler v4i_sampler;
typedef struct v4i_grammar v4i_grammar;
typedef struct v4i_kv_store v4i_kv_store;
typedef struct v4i_cancel v4i_cancel;
typedef struct v4i_buffer v4i_buffer; /* immutable bytes, any thread */

V4I_API const void* v4i_buffer_data(const v4i_buffer* b);
V4I_API size_t v4i_buffer_size(const v4i_buffer* b);
V4I_API void v4i_buffer_release(v4i_buffer* b);

/* Cancel: signal from any thread; async-signal-safe.  Checked at every layer
 * boundary, so the delay is one layer, on the GPU too. */
V4I_API v4i_status v4i_cancel_create(v4i_cancel** out, v4i_error** err);
V4I_API void v4i_cancel_signal(v4i_cancel* c);
V4I_API void v4i_cancel_reset(v4i_cancel* c);
V4I_API void v4i_cancel_release(v4i_cancel* c);

/* Optional extension blocks (backend knobs, experiments).  Each is a struct that
 * begins like v4i_ext; set `type` after V4I_INIT and chain them with `next`.  An
 * unknown `type`, or one that the function does not take, is V4I_E_UNSUPPORTED. */
#define V4I_EXT_NUMERICS 1u /* v4i_numerics, at v4i_model_options.next */
#define V4I_EXT_RATES 2u    /* v4i_rates, at v4i_model_options.next */
typedef struct v4i_ext {
  uint32_t struct_size;
  uint32_t type;
  const struct v4i_ext* next;
} v4i_ext;

#define V4I_LOG_ERROR 1
#define V4I_LOG_WARN 2
#define V4I_LOG_INFO 3
#define V4I_LOG_DEBUG 4
typedef void (*v4i_log_fn)(int32_t level, const char* component,
                           const char* text, size_t text_len, void* user);

/* Return nonzero to cancel.  `done`/`total` are bytes or tokens by phase. */
#define V4I_PHASE_READ 1
#define V4I_PHASE_UPLOAD 2
#define V4I_PHASE_WARMUP 3
#define V4I_PHASE_PREFILL 4
typedef int32_t (*v4i_progress_fn)(int32_t phase, uint64_t done, uint64_t total,
                                   void* user);

/* Host memory hook.  Device memory follows the budget instead. */
typedef struct v4i_allocator {
  uint32_t struct_size;
  uint32_t reserved0;
  void* (*alloc)(size_t bytes, size_t align, void* user);
  void (*free)(void* p, size_t bytes, size_t align, void* user);
  void* user;
} v4i_allocator;

/* ---- 3. Engine, devices, memory budget ---------------------------------- */

typedef struct v4i_memory_budget { /* bytes; 0 = library decides, ~0 = no cap */
  uint32_t struct_size;
  uint32_t reserved0;
  uint64_t device_bytes;
  uint64_t pinned_bytes;
  uint64_t host_bytes;
  uint64_t disk_bytes; /* of all disk tiers together */
} v4i_memory_budget;

typedef struct v4i_engine_options {
  uint32_t struct_size;
  uint32_t abi_version; /* V4I_ABI_VERSION; checked before anything else */
  const v4i_ext* next;
  const v4i_allocator* allocator; /* copied */
  v4i_log_fn log;
  void* log_user;
  int32_t log_level;             /* 0 = V4I_LOG_WARN */
  /* The caller and the library's own threads, 1 to 1024.  0 = one for each physical core
   * that this thread may run on (those of `cpus`), no more than the CPU quota of the
   * cgroup, rounded.  Threads that the system does not give are a log line (WARN). */
  int32_t thread_count;
  /* NULL or "cpu"; "cuda:0", "cuda:1", ...: a device of libv4infer-cuda, which must lie
   * beside this library or the program, or where V4INFER_CUDA_LIBRARY or the system's
   * loader finds it, else V4I_E_UNSUPPORTED says what is missing.  Experts that do not
   * fit into device_bytes are computed by the CPU. */
  const char* backend;
  const char* force_isa; /* of the CPU; NULL = best; "scalar", "avx2", "avx512" */
  const v4i_memory_budget* budget; /* a pointer: embedded structs cannot grow */
  /* Of the library's computing threads (Linux): processors that they may run on, from those
   * of the calling thread, and their nice value, -20 to 19; NULL and 0 = as the calling
   * thread.  What the system refuses is a log line (WARN).  A call computes in its own
   * thread as well, which is left as it is. */
  const int32_t* cpus;
  size_t cpu_count;
  int32_t thread_priority;
  int32_t reserved0;
} v4i_engine_options;

typedef struct v4i_device_info {
  uint32_t struct_size;
  int32_t kind; /* 0 cpu, 1 cuda */
  char name[128];
  char arch[32]; /* "sm_90", "avx512" */
  uint64_t memory_total;
  uint64_t memory_free;
} v4i_device_info;

/* Bytes that are claimed.  Of a workspace pages become resident when they are first used, so
 * the process may occupy less. */
typedef struct v4i_memory_stats {
  uint32_t struct_size;
  uint32_t reserved0;
  uint64_t device_weights, device_kv, device_scratch;
  uint64_t host_weights, host_kv, pinned;
  uint64_t disk_kv;
  uint64_t device_peak, host_peak;
  uint64_t host_scratch;
} v4i_memory_stats;

V4I_API v4i_status v4i_engine_create(const v4i_engine_options* o, v4i_engine** out,
                                     v4i_error** err);
/* The last reference, that of models and sessions counted, ends the engine's threads, which
 * have nothing to do then. */
V4I_API void v4i_engine_release(v4i_engine* e);
/* The GPU, if the backend has one, then the processor. */
V4I_API size_t v4i_engine_device_count(const v4i_engine* e);
V4I_API v4i_status v4i_engine_device_info(const v4i_engine* e, size_t i,
                                          v4i_device_info* out, v4i_error** err);
/* Holds at once: what can be had again leaves memory until the new cap fits (KV blocks
 * that a store has, experts).  Waits for the layer in work.  What cannot leave is kept, and
 * nothing new is granted meanwhile.  device_bytes 0 leaves the cap of the device as it is,
 * the others become uncapped with 0. */
V4I_API v4i_status v4i_engine_set_budget(v4i_engine* e, const v4i_memory_budget* b,
                                         v4i_error** err);
V4I_API v4i_status v4i_engine_memory(const v4i_engine* e, v4i_memory_stats* out,
                                     v4i_error** err);
/* Which image files V4I_PIXELS_ENCODED may be: bits.  V4I_E_UNSUPPORTED where the plug-in
 * libv4infer-images.so is not installed beside the library; the text says where it was looked
 * for.  Opens it, which may read a file.  Any thread. */
#define V4I_IMAGE_PNG 0x1u
#define V4I_IMAGE_JPEG 0x2u
#define V4I_IMAGE_WEBP 0x4u
V4I_API v4i_status v4i_engine_image_formats(const v4i_engine* e, uint32_t* out,
                                            v4i_error** err);
/* After return no callback of this engine (log, progress, step, reader, writer, KV store)
 * runs again: log lines and progress are dropped, a call that cannot do without
 * its callback returns V4I_E_STATE.  KV stores of the host are closed, which is their
 * last call; their sessions go on without them.  The allocator stays, memory goes back
 * to it.  Waits for callbacks that are running, and for the KV stores of the host.
 * For hosts that unload managed code under a loaded library (Unity domain
 * reload).  V4I_E_STATE when called from inside one of those callbacks. */
V4I_API v4i_status v4i_engine_quiesce(v4i_engine* e, v4i_error** err);

/* ---- 4. Model ------------------------------------------------------------ */

#define V4I_CAP_IMAGE 0x1u
#define V4I_CAP_AUDIO 0x2u
#define V4I_CAP_VIDEO 0x4u
#define V4I_CAP_TOOLS 0x8u
#define V4I_CAP_THINKING 0x10u
#define V4I_CAP_DRAFT 0x20u  /* draft head (MTP or DSpark) present */
#define V4I_CAP_ENGRAM 0x40u /* n-gram memory tables present */

typedef struct v4i_model_info {
  uint32_t struct_size;
  uint32_t capabilities;
  char family[64];
  char digest[65]; /* hex, of the tensor directory; keys saved sessions */
  char reserved1[7];
  uint64_t parameter_count, file_bytes;
  uint32_t layer_count, vocab_size, embed_dim, context_max;
  uint32_t expert_count, expert_active;
} v4i_model_info;

typedef struct v4i_model_options {
  uint32_t struct_size;
  int32_t reserved0;
  const v4i_ext* next;
  const char* path; /* file or folder, UTF-8 on every OS */
  v4i_progress_fn progress;
  void* progress_user;
  v4i_cancel* cancel;
  uint32_t context_hint; /* plan memory for this many tokens */
  uint32_t session_hint; /* ... in this many sessions */
  int32_t verify_tensors; /* 1 = read and check every tensor now, not at first use */
  int32_t tiered; /* 1 = ... that have tiers (section 10): KV rows may leave memory */
} v4i_model_options;

/* How the model computes; chain it at v4i_model_options.next. */
#define V4I_NUMERICS_NATIVE 1 /* as trained (default): fp8/bf16 activations, packed KV */
#define V4I_NUMERICS_EXACT 2  /* float32 activations and KV, nothing rounded */
#define V4I_NUMERICS_FAST 3   /* native with int8 products: AVX-512 VNNI, else UNSUPPORTED */
typedef struct v4i_numerics {
  uint32_t struct_size;
  uint32_t type; /* V4I_EXT_NUMERICS */
  const v4i_ext* next;
  int32_t mode; /* 0 = native */
  int32_t reserved0;
} v4i_numerics;

/* What the machine reads in a second, given or measured, for the estimate of a plan; chain
 * it at v4i_model_options.next.  v4i_model_open takes no notice of it. */
typedef struct v4i_rates {
  uint32_t struct_size;
  uint32_t type; /* V4I_EXT_RATES */
  const v4i_ext* next;
  double memory_bytes_per_s; /* by all threads together; 0 = not known */
  double disk_bytes_per_s;   /* of the model's files and the disk tier; 0 = not known */
} v4i_rates;

/* What open() and the sessions of the hints would take, without taking it: no weights are
 * read.  As the CPU computes, whatever the backend.  "planned" is session_hint sessions (0:
 * one) of context_hint tokens each (0: the model's most).  Bytes, but where it says otherwise;
 * "budget" is host_bytes of v4i_memory_budget less what is in use.  Of this budget: without
 * one experts and n-gram rows stay in the mapped files, so that less is needed of it.  Images
 * are not counted: patches, the tower's work and embeddings come on top (docs/images.md). */
typedef struct v4i_model_plan {
  uint32_t struct_size;
  int32_t fits;          /* 1 = what is planned fits; with `tiered`, with a tier's help */
  uint64_t device_bytes; /* 0 */
  uint64_t host_bytes;   /* of the budget, for what is planned, all KV state in memory */
  uint64_t disk_bytes;   /* of the model's files */
  uint32_t experts_on_device; /* 0 */
  uint32_t experts_on_host;   /* of all layers' routed experts, those there is room for */
  uint32_t experts_on_disk;   /* the others: read from the model's files when they are used */
  uint32_t context_fitting; /* tokens of each session that fit the budget, KV in memory */
  /* Of one session at the planned length: 1 / (token_memory_bytes / memory_bytes_per_s +
   * token_disk_bytes / disk_bytes_per_s), rates of v4i_rates.  An estimate: nothing is run.
   * 0 = none, a rate that it needs is not known. */
  double decode_tokens_per_s_estimate;
  uint32_t context_fitting_tiered; /* tokens of each session that fit with a tier */
  int32_t experts_mapped; /* 1 = in the mapped files, not counted, the kernel keeps what it
                           * has room for; 0 = in slots of the budget */
  uint64_t host_bytes_tiered; /* of the budget, with a tier, at the least */
  uint64_t dense_bytes;  /* mapped and not counted, read for every token: RAM to leave free */
  uint64_t expert_bytes; /* of all routed experts */
  uint64_t slot_bytes;   /* of one expert's slot; 0 where they are mapped */
  uint64_t slots_least_bytes; /* of slots that experts keep in any case; in host_bytes */
  uint64_t scratch_bytes;     /* workspace, and logits of what is planned; in host_bytes */
  uint64_t kv_fixed_bytes; /* windows and partial states; a second one for long chunks */
  uint64_t kv_bytes;       /* compressed rows, index keys and token ids, all in memory */
  uint64_t kv_tiered_bytes; /* of these, what has to be in memory with a tier: index keys, rows
                             * that are read whole, blocks in work, a wave of chosen rows */
  uint64_t kv_disk_bytes;   /* of a tier, that holds all of what is planned */
  uint64_t token_memory_bytes; /* read from memory for a token: weights and KV state */
  /* Read from the disk for a token: routed experts as if all were used alike, and a tenth of
   * the chosen rows there is no room for, 4096 bytes each. */
  uint64_t token_disk_bytes;
} v4i_model_plan;

V4I_API v4i_status v4i_model_probe(v4i_engine* e, const char* path, v4i_model_info* out,
                                   v4i_error** err); /* header only, fast */
V4I_API v4i_status v4i_model_plan_open(v4i_engine* e, const v4i_model_options* o,
                                       v4i_model_plan* out, v4i_error** err);
V4I_API v4i_status v4i_model_open(v4i_engine* e, const v4i_model_options* o,
                                  v4i_model** out, v4i_error** err);
/* The last reference, that of sessions counted, closes the files.  Waits for reads under
 * way, and at most ten seconds for what KV stores were given. */
V4I_API void v4i_model_release(v4i_model* m);
V4I_API v4i_status v4i_model_get_info(const v4i_model* m, v4i_model_info* out,
                                      v4i_error** err);
/* One JSON object for people and tools: "config", "plan" (per layer), "sizes" and
 * "memory" (bytes), with V4I_DESCRIBE_TENSORS also "tensors" (large: 70,000 entries
 * for a full model).  Keys may be added in any release. */
#define V4I_DESCRIBE_TENSORS 0x1u
V4I_API v4i_status v4i_model_describe(const v4i_model* m, uint32_t flags,
                                      v4i_buffer** json, v4i_error** err);

/* ---- 5. Tokens and chat --------------------------------------------------
 * Array outputs: pass cap = 0 to learn *count; too small a cap writes nothing
 * and returns V4I_E_INVALID with *count set. */

#define V4I_TOK_ADD_BOS 0x1u
#define V4I_TOK_PARSE_SPECIAL 0x2u /* off by default: user text stays text */
#define V4I_SPECIAL_BOS 1
#define V4I_SPECIAL_EOS 2
#define V4I_SPECIAL_USER 3
#define V4I_SPECIAL_ASSISTANT 4
#define V4I_SPECIAL_THINK 5
#define V4I_SPECIAL_END_THINK 6
#define V4I_SPECIAL_IMAGE 7 /* stands for an image in the tokens of append_media */

/* image_count: of a user's or tool's message; its images come before its text. */
typedef struct v4i_chat_message {
  uint32_t struct_size;
  uint32_t reserved0;
  const char* role; /* "system" "user" "assistant" "tool", or another of the model's */
  const char* content;
  size_t content_len;
  const char* tool_call_id; /* or NULL */
  uint32_t image_count;
  uint32_t reserved1;
} v4i_chat_message;

typedef struct v4i_chat_options {
  uint32_t struct_size;
  int32_t thinking; /* 0 model default (off in this family), 1 off, 2 on, 3 max */
  const char* tools_json; /* JSON array of tools, or NULL */
  size_t tools_json_len;
  int32_t open_assistant; /* 1 = end with the assistant prefix, ready to answer */
  int32_t effort; /* of thinking: 0 model default, 1 low, 2 high, 3 max; thinking 3
                     is thinking 2 with effort 3 */
} v4i_chat_options;

typedef struct v4i_chat_stream v4i_chat_stream; /* one answer; one thread at a time */

V4I_API v4i_status v4i_tokenize(const v4i_model* m, const char* text, size_t len,
                                uint32_t flags, v4i_token* out, size_t cap,
                                size_t* count, v4i_error** err);
V4I_API v4i_status v4i_detokenize(const v4i_model* m, const v4i_token* t, size_t n,
                                  char* out, size_t cap, size_t* count,
                                  v4i_error** err);
V4I_API v4i_status v4i_token_bytes(const v4i_model* m, v4i_token t, const char** out,
                                   size_t* len, v4i_error** err);
V4I_API v4i_token v4i_token_special(const v4i_model* m, int32_t which); /* -1: none */
/* Messages as the tokens of a prompt.  Each image is one V4I_SPECIAL_IMAGE there: hand the
 * images over with the tokens (append_media, sync_media in section 7), in their order.
 * V4I_E_UNSUPPORTED: images, and the model takes none. */
V4I_API v4i_status v4i_chat_encode(const v4i_model* m, const v4i_chat_message* msgs,
                                   size_t msg_count, const v4i_chat_options* o,
                                   v4i_token* out, size_t cap, size_t* count,
                                   v4i_error** err);
/* The same from JSON: an array of OpenAI-style messages, or {"messages", "tools",
 * "response_format"}.  Messages may carry "tool_calls", "reasoning_content" and
 * "tool_call_id".  Text of a message never becomes a special token.  A part of type "image"
 * or "image_url", of a user's or tool's message, is an image; where its bytes are is not read
 * (no URL is fetched, no data: URL decoded): they come with the tokens, or not at all.  Parts
 * of other types become "[Unsupported TYPE]", as the published encoder writes them. */
V4I_API v4i_status v4i_chat_encode_json(const v4i_model* m, const char* json, size_t len,
                                        const v4i_chat_options* o, v4i_token* out,
                                        size_t cap, size_t* count, v4i_error** err);
/* For each image of that prompt, which of the JSON's it is: counted from 0 by message, then by
 * part.  0, 1, 2, ..., but where tool results are not in the order of their calls, as which
 * they are written. */
V4I_API v4i_status v4i_chat_image_order(const v4i_model* m, const char* json, size_t len,
                                        const v4i_chat_options* o, uint32_t* out,
                                        size_t cap, size_t* count, v4i_error** err);
/* Splits an answer into {"reasoning", "content", "tool_calls": [{"name",
 * "arguments"}]}, arguments being JSON text.  `thinking` says how the prompt ended: 1
 * off, 2 on, 0 = on when the text holds the end-of-thinking mark. */
V4I_API v4i_status v4i_chat_parse(const v4i_model* m, const char* text, size_t len,
                                  int32_t thinking, v4i_buffer** json, v4i_error** err);
/* The same while the text arrives; a feed may split a character.  feed() and finish()
 * return a JSON array, often empty, of events {"type": "reasoning" or "content",
 * "text"} and {"type": "tool_call", "index", "name", "arguments"}; the beginning of a
 * mark is held back until it is one or is not.  `thinking`: 0 or 1 off, 2 on. */
V4I_API v4i_status v4i_chat_stream_create(const v4i_model* m, int32_t thinking,
                                          v4i_chat_stream** out, v4i_error** err);
V4I_API v4i_status v4i_chat_stream_feed(v4i_chat_stream* c, const char* text, size_t len,
                                        v4i_buffer** json_events, v4i_error** err);
V4I_API v4i_status v4i_chat_stream_finish(v4i_chat_stream* c, v4i_buffer** json_events,
                                          v4i_error** err);
V4I_API void v4i_chat_stream_release(v4i_chat_stream* c);

/* ---- 6. Session ----------------------------------------------------------- */

/* v4i_session_restore of a session that another backend or other numerics saved: their
 * KV states differ in the last bits.  EXACT refuses it (V4I_E_UNSUPPORTED).  RECOMPUTE
 * takes its tokens, which are pending then: the next prefill(), step() or generate()
 * computes them.  Nothing behind the tokens is read. */
#define V4I_RESTORE_EXACT 0
#define V4I_RESTORE_RECOMPUTE 1
/* REPLAY (DeepSeek-V4.1; else V4I_E_UNSUPPORTED): of a prompt only the last 128 tokens
 * pass through all layers, those before through half.  About half the time; the text is
 * close to FULL's, not equal.  eval() computes all layers. */
#define V4I_PREFILL_FULL 0
#define V4I_PREFILL_REPLAY 1

typedef struct v4i_session_options {
  uint32_t struct_size;
  uint32_t context_size; /* 0 = as planned at model open */
  const v4i_ext* next;
  v4i_kv_store* const* tiers; /* below device and host; fast to slow; at most 16 */
  size_t tier_count;
  uint64_t seed;
  int32_t priority; /* scheduler: higher first */
  int32_t capture;  /* 0, or 4: timeline; 1 (router), 2 (engram): V4I_E_UNSUPPORTED */
  uint32_t restore; /* V4I_RESTORE_ */
  uint32_t prefill; /* V4I_PREFILL_ */
} v4i_session_options;

typedef struct v4i_session_info {
  uint32_t struct_size;
  int32_t finish; /* see V4I_FINISH_* */
  uint64_t position, pending, context_size;
  uint64_t kv_device_bytes, kv_host_bytes, kv_store_bytes;
  uint64_t reused_tokens;
} v4i_session_info;

/* Streams move state of any size without one giant buffer. */
typedef struct v4i_writer {
  uint32_t struct_size;
  uint32_t reserved0;
  v4i_status (*write)(const void* data, size_t bytes, void* user);
  void* user;
} v4i_writer;
typedef struct v4i_reader {
  uint32_t struct_size;
  uint32_t reserved0;
  v4i_status (*read)(void* data, size_t bytes, size_t* got, void* user);
  void* user;
} v4i_reader;

V4I_API v4i_status v4i_session_create(v4i_model* m, const v4i_session_options* o,
                                      v4i_session** out, v4i_error** err);
/* A call that is running on the session is cancelled (V4I_E_CANCELLED; no on_step any more)
 * and frees the session when it returns, a step_many when its step is done.  The last
 * session with its tiers waits as v4i_model_release(). */
V4I_API void v4i_session_release(v4i_session* s);
V4I_API v4i_status v4i_session_fork(v4i_session* s, v4i_session** out,
                                    v4i_error** err); /* copy-on-write KV */
/* Waits for rows that lie in tiers, and for the engine where lost ones are computed again. */
/* Checksums find what is damaged, not what is forged: restore what you trust as you trust the
 * model's files.  A forged one may say anything, also to sessions that share its stores. */
V4I_API v4i_status v4i_session_save(v4i_session* s, const v4i_writer* w,
                                    v4i_error** err);
V4I_API v4i_status v4i_session_restore(v4i_model* m, const v4i_session_options* o,
                                       const v4i_reader* r, v4i_session** out,
                                       v4i_error** err);
V4I_API v4i_status v4i_session_rewind(v4i_session* s, uint64_t position,
                                      v4i_error** err);
V4I_API v4i_status v4i_session_get_info(const v4i_session* s, v4i_session_info* out,
                                        v4i_error** err);
V4I_API v4i_status v4i_session_tokens(const v4i_session* s, uint64_t first,
                                      v4i_token* out, size_t cap, size_t* count,
                                      v4i_error** err);

/* ---- 7. Prompt ------------------------------------------------------------
 * append_* only queues.  The work happens in prefill(), step() or generate().
 * sync() makes the timeline equal `tokens`, keeping the longest usable prefix. */

#define V4I_PIXELS_RGB8 1
#define V4I_PIXELS_RGBA8 2
#define V4I_PIXELS_ENCODED 3 /* a file's data_bytes bytes: PNG, JPEG or WebP, by content */
#define V4I_PIXELS_PATCHES 4 /* width x height patches, float32 [3, patch, patch], -1 to 1 */
typedef struct v4i_image {
  uint32_t struct_size;
  int32_t format;
  uint32_t width, height; /* of ENCODED: 0, or what the file must have */
  uint64_t stride_bytes, data_bytes; /* stride of RGB8, RGBA8; 0 = rows side by side */
  const void* data;                  /* read in the call */
  /* Most tokens it may take, at least 19; 0 = the model's.  With fewer it is resized to less:
   * sooner encoded, coarser seen.  Patches that take more are V4I_E_INVALID. */
  uint32_t max_tokens;
  uint32_t reserved0;
} v4i_image;
typedef struct v4i_audio {
  uint32_t struct_size;
  uint32_t sample_rate;
  uint32_t channels, reserved0;
  uint64_t frame_count;
  const float* samples; /* interleaved */
} v4i_audio;
typedef struct v4i_video {
  uint32_t struct_size;
  uint32_t reserved0;
  const v4i_image* frames;
  const double* times_s; /* one per frame */
  size_t frame_count;
  const v4i_audio* sound; /* or NULL */
} v4i_video;

V4I_API v4i_status v4i_session_append_text(v4i_session* s, const char* text, size_t len,
                                           uint32_t flags, v4i_error** err);
/* V4I_SPECIAL_IMAGE, whose image would be missing, is V4I_E_INVALID, here, in append_text,
 * eval and what sync appends. */
V4I_API v4i_status v4i_session_append_tokens(v4i_session* s, const v4i_token* t,
                                             size_t n, v4i_error** err);
/* Some hundred tokens, all V4I_SPECIAL_IMAGE; resized in the call, encoded when they are
 * computed.  V4I_E_UNSUPPORTED without V4I_CAP_IMAGE.
 * V4I_PIXELS_ENCODED is decoded in the call, as Pillow's convert("RGB") does it: alpha dropped, no
 * orientation of EXIF, of an animation the first image.  At most 64 Mi pixels, checked before they
 * are decoded; memory, the codecs' own too, is host memory of the budget and back on return, but
 * for the patches.  V4I_E_FORMAT: damaged, cut off, or no image; V4I_E_UNSUPPORTED: another format,
 * or libv4infer-images.so is not there (v4i_engine_image_formats); V4I_E_INVALID: a size that the
 * model cannot take, or not that of width and height; V4I_E_NO_MEMORY. */
V4I_API v4i_status v4i_session_append_image(v4i_session* s, const v4i_image* i,
                                            v4i_error** err);
V4I_API v4i_status v4i_session_append_audio(v4i_session* s, const v4i_audio* a,
                                            v4i_error** err);
V4I_API v4i_status v4i_session_append_video(v4i_session* s, const v4i_video* v,
                                            v4i_error** err);
/* Takes what v4i_session_tokens says, spans of images included, as far as it is kept: they
 * stay the images that are there. */
V4I_API v4i_status v4i_session_sync(v4i_session* s, const v4i_token* t, size_t n,
                                    size_t* reused, v4i_error** err);
/* Text and images together: each V4I_SPECIAL_IMAGE in `t` becomes the tokens of the next image.
 * As many images as that, else V4I_E_INVALID with both numbers; an error of an image says
 * which.  All is appended or nothing.  Nothing is computed but sizes and pixels; no call
 * waits for another session.
 * sync_media() keeps the longest prefix of equal tokens and equal images (pixels, size and
 * limit, or patches): a conversation that is encoded anew each turn computes what is new. */
V4I_API v4i_status v4i_session_append_media(v4i_session* s, const v4i_token* t, size_t n,
                                            const v4i_image* images, size_t image_count,
                                            v4i_error** err);
V4I_API v4i_status v4i_session_sync_media(v4i_session* s, const v4i_token* t, size_t n,
                                          const v4i_image* images, size_t image_count,
                                          size_t* reused, v4i_error** err);

/* ---- 8. Run: prefill, step, generate ---------------------------------------
 * After V4I_E_CANCELLED the session is still good: step() has changed nothing,
 * prefill() keeps the chunks that were complete, generate() the tokens, whose text
 * on_step has seen. */

#define V4I_FINISH_NONE 0 /* still running */
#define V4I_FINISH_EOS 1
#define V4I_FINISH_STOP 2 /* stop text or grammar complete */
#define V4I_FINISH_LENGTH 3
#define V4I_FINISH_CANCELLED 4

typedef struct v4i_run_options {
  uint32_t struct_size;
  /* 0/1, or more to allow drafts in step and generate (step_many makes none): where the
   * model has an MTP block or DSpark stages, there is memory for them and it pays, they guess
   * tokens, MTP one and DSpark up to its block size, and the model computes as many at once.
   * In prefill it lets DSpark see the prompt.  Text, tokens and logits never depend on it. */
  int32_t max_tokens_per_step;
  v4i_cancel* cancel;
  v4i_progress_fn progress; /* prefill only */
  void* progress_user;
  int32_t chunk_tokens; /* of prefill; 0 = library decides.  Results never depend on it */
  int32_t reserved0;
} v4i_run_options;

typedef struct v4i_step { /* pointers live until the next call on the session */
  uint32_t struct_size;
  int32_t finish;
  const v4i_token* tokens;
  size_t token_count;
  const char* text; /* complete UTF-8 only; split characters are held back */
  size_t text_len;
  float logprob; /* of the last token */
  uint32_t drafted, accepted; /* tokens guessed; those that were right */
  uint32_t reserved0;
} v4i_step;

typedef int32_t (*v4i_step_fn)(v4i_session* s, const v4i_step* step, void* user);
typedef struct v4i_generate_options {
  uint32_t struct_size;
  int32_t max_tokens; /* 0 = until the context is full */
  const v4i_run_options* run; /* or NULL */
  v4i_step_fn on_step; /* nonzero stops, with FINISH_CANCELLED */
  void* on_step_user;
  const char* const* stop;
  size_t stop_count;
} v4i_generate_options;

V4I_API v4i_status v4i_session_prefill(v4i_session* s, const v4i_run_options* o,
                                       v4i_error** err);
V4I_API v4i_status v4i_session_step(v4i_session* s, const v4i_run_options* o,
                                    v4i_step* out, v4i_error** err);
V4I_API v4i_status v4i_session_generate(v4i_session* s, const v4i_generate_options* o,
                                        v4i_buffer** text, int32_t* finish,
                                        v4i_error** err);
/* Appends `tokens`, computes them, and writes the logits after each: n rows of
 * vocab_size floats.  `cap` counts floats.  For scoring and perplexity. */
V4I_API v4i_status v4i_session_eval(v4i_session* s, const v4i_token* tokens, size_t n,
                                    const v4i_run_options* o, float* logits, size_t cap,
                                    v4i_error** err);
/* eval() of tokens with images: a row for each token of an image, too.  A `cap` that is too
 * small is V4I_E_INVALID and says how many tokens there are. */
V4I_API v4i_status v4i_session_eval_media(v4i_session* s, const v4i_token* tokens, size_t n,
                                          const v4i_image* images, size_t image_count,
                                          const v4i_run_options* o, float* logits, size_t cap,
                                          v4i_error** err);
/* One batched step over sessions of one model; each gets its own status, and out[i]
 * is meaningful where status[i] is V4I_OK.  V4I_OK unless the call itself is wrong. */
V4I_API v4i_status v4i_step_many(v4i_session* const* s, size_t n,
                                 const v4i_run_options* o, v4i_step* out,
                                 v4i_status* status, v4i_error** err);

/* ---- 9. Sampler and grammar ------------------------------------------------- */

/* Zero = the model's recommended value (temperature 1, the rest off).  Off: top_p 1,
 * top_k -1, min_p -1, repeat_penalty 1.  The penalty divides positive logits of the
 * last repeat_window tokens (0 = 64) and multiplies negative ones. */
typedef struct v4i_sampler_options {
  uint32_t struct_size;
  int32_t greedy;
  float temperature, top_p, min_p, repeat_penalty;
  int32_t top_k, repeat_window;
} v4i_sampler_options;
typedef struct v4i_logit_bias {
  v4i_token token;
  float bias;
} v4i_logit_bias;
#define V4I_GRAMMAR_GBNF 1
#define V4I_GRAMMAR_JSON_SCHEMA 2
#define V4I_GRAMMAR_REGEX 3

V4I_API v4i_status v4i_sampler_create(const v4i_model* m, const v4i_sampler_options* o,
                                      v4i_sampler** out, v4i_error** err);
V4I_API void v4i_sampler_release(v4i_sampler* p);
V4I_API v4i_status v4i_sampler_set_bias(v4i_sampler* p, const v4i_logit_bias* b,
                                        size_t n, v4i_error** err);
V4I_API v4i_status v4i_grammar_compile(const v4i_model* m, int32_t kind,
                                       const char* text, size_t len, v4i_grammar** out,
                                       v4i_error** err);
V4I_API void v4i_grammar_release(v4i_grammar* g);
/* The session shares the sampler (a later set_bias holds from its next step);
 * NULL = the model's default. */
V4I_API v4i_status v4i_session_set_sampler(v4i_session* s, v4i_sampler* p,
                                           v4i_grammar* g, v4i_error** err);

/* ---- 10. KV storage tiers ---------------------------------------------------
 * A store keeps immutable blocks by 32-byte key: same key, same bytes, for ever, so it
 * may be shared by sessions, processes and machines.  Sessions name their stores in
 * v4i_session_options.tiers; memory always comes first.  A store may lose blocks and may
 * fail: that costs time, never text.  What comes back is checked, and what is damaged
 * counts as lost and in v4i_kv_stats.errors.
 *
 * Your own (v4i_kv_store_wrap).  Its functions are called by the thread that is inside a
 * v4i_ call, one at a time for one store, and may not call back into v4i_ (V4I_E_BUSY).
 * begin_* start work and do not block; they return V4I_OK, and then poll() reports the
 * ticket once, or a failure, and then it never does: V4I_E_NO_MEMORY when it is full,
 * V4I_E_IO else.  Buffers are yours until the ticket is reported, not a moment longer.
 * A get of a block larger than its buffer reports V4I_E_INVALID and the size wanted;
 * bytes behind the block, and all of them without V4I_OK, are left alone. */

typedef struct v4i_kv_key {
  uint8_t bytes[32]; /* hash of model digest, layer, token prefix; any byte may be 0 */
} v4i_kv_key;
typedef struct v4i_kv_done {
  uint64_t ticket;
  v4i_status status; /* V4I_E_STATE = not found */
  uint32_t reserved0;
  uint64_t bytes; /* of the block; of begin_get_part: read */
} v4i_kv_done;
typedef struct v4i_kv_vtable {
  uint32_t struct_size;
  uint32_t flags;          /* 0 */
  const char* name;        /* for messages; copied; may be NULL */
  uint64_t capacity_bytes; /* 0 = not known */
  v4i_status (*begin_put)(const v4i_kv_key* k, const void* data, uint64_t bytes,
                          uint64_t ticket, void* user);
  v4i_status (*begin_get)(const v4i_kv_key* k, void* data, uint64_t bytes,
                          uint64_t ticket, void* user);
  /* Waits at most timeout_ns for something to report; *count 0 is normal. */
  v4i_status (*poll)(v4i_kv_done* done, size_t cap, size_t* count,
                     uint64_t timeout_ns, void* user);
  v4i_status (*contains)(const v4i_kv_key* k, int32_t* yes, void* user); /* cheap */
  v4i_status (*erase)(const v4i_kv_key* k, void* user);
  /* Last call, after every ticket was reported (or ten seconds of waiting for them):
   * when the store was released and its last session too, or in v4i_engine_quiesce().
   * May be NULL. */
  void (*close)(void* user);
  /* May be NULL: then blocks are read whole.  Bytes [at, at + bytes) of a block, at
   * multiples of 4096; V4I_E_STATE also when the block ends before. */
  v4i_status (*begin_get_part)(const v4i_kv_key* k, uint64_t at, void* data, uint64_t bytes,
                               uint64_t ticket, void* user);
} v4i_kv_vtable;

typedef struct v4i_kv_disk_options {
  uint32_t struct_size;
  int32_t compression; /* 0 none; 1 fast: V4I_E_UNSUPPORTED, KV rows do not get smaller */
  const char* folder;  /* made if it is not there; several processes may use it */
  uint64_t capacity_bytes; /* 0 = until the disk is full */
  int32_t read_only, reserved0;
} v4i_kv_disk_options;
/* blocks, bytes and evictions are 0 for a store of the host.  hits and misses are of
 * blocks asked for; the times are from the beginning of a put or get to its report, so
 * that those of work side by side overlap. */
typedef struct v4i_kv_stats {
  uint32_t struct_size;
  uint32_t reserved0;
  uint64_t blocks, bytes, hits, misses, evictions, errors;
  uint64_t read_bytes, write_bytes, read_ns, write_ns;
} v4i_kv_stats;

/* Sessions hold their stores: release yours when you like.  V4I_E_UNSUPPORTED where the
 * build has no disk tier. */
V4I_API v4i_status v4i_kv_store_open_disk(v4i_engine* e, const v4i_kv_disk_options* o,
                                          v4i_kv_store** out, v4i_error** err);
V4I_API v4i_status v4i_kv_store_wrap(v4i_engine* e, const v4i_kv_vtable* t, void* user,
                                     v4i_kv_store** out, v4i_error** err);
/* The last reference closes the store.  Waits for what is under way, ten seconds at most. */
V4I_API void v4i_kv_store_release(v4i_kv_store* k);
V4I_API v4i_status v4i_kv_store_get_stats(const v4i_kv_store* k, v4i_kv_stats* out,
                                          v4i_error** err);
/* The conformance suite that the built-in tiers pass; run it on yours.  It uses keys of
 * its own, made from `seed`, and erases them.  *report has a line for each check that
 * failed ("late: a put or get uses its buffer after its ticket was reported") and is empty when
 * the store passes: lost, corrupt, erased, twice, reordered, late, partial, parts, closed,
 * and full where the capacity is known and between 64 KiB and 64 MiB. */
V4I_API v4i_status v4i_kv_store_selftest(v4i_kv_store* k, uint64_t seed,
                                         v4i_buffer** report, v4i_error** err);

/* ---- 11. Looking inside ------------------------------------------------------ */

typedef struct v4i_token_prob {
  v4i_token token;
  float logprob;
} v4i_token_prob;
typedef struct v4i_expert_stat { /* per layer and expert, since session start */
  uint32_t layer, expert;
  uint64_t hits;
  uint32_t tier; /* 0 device, 1 host, 2 disk */
  float mean_weight;
} v4i_expert_stat;
/* As v4i_session_metrics counts.  Hits: rows that were in memory; mean_gate: of 0 to 1,
 * how much of a row's value is added.  V4I_E_UNSUPPORTED without V4I_CAP_ENGRAM. */
typedef struct v4i_engram_stats {
  uint32_t struct_size;
  uint32_t reserved0;
  uint64_t lookups, table_hits, bytes_read;
  double mean_gate;
} v4i_engram_stats;
/* Since the session began.  Lookups are those of runs that it took part in; a batch of
 * step_many counts whole in each of its sessions. */
typedef struct v4i_session_metrics {
  uint32_t struct_size;
  uint32_t reserved0;
  uint64_t prefill_tokens, decode_tokens, prefill_ns, decode_ns, first_token_ns;
  uint64_t expert_loads, expert_load_bytes, kv_wait_ns; /* loads: of expert_uses */
  uint64_t drafted, accepted;
  uint64_t expert_uses; /* experts routed to, per layer and run; 0: all are mapped */
  uint64_t kv_rows, kv_row_loads; /* rows read beside absent ones; of them brought */
} v4i_session_metrics;
#define V4I_FORMAT_JSON 1
#define V4I_FORMAT_CSV 2
#define V4I_FORMAT_CHROME_TRACE 3
#define V4I_FORMAT_PROMETHEUS 4
#define V4I_EMBED_LAST 1
#define V4I_EMBED_MEAN 2

V4I_API v4i_status v4i_session_logits(v4i_session* s, const float** out, size_t* count,
                                      v4i_error** err); /* until next call */
/* The `cap` most likely next tokens, best first; *count says how many were written. */
V4I_API v4i_status v4i_session_top_probs(v4i_session* s, v4i_token_prob* out,
                                         size_t cap, size_t* count, v4i_error** err);
V4I_API v4i_status v4i_session_embedding(v4i_session* s, int32_t kind, float* out,
                                         size_t cap, size_t* count, v4i_error** err);
V4I_API v4i_status v4i_session_expert_stats(v4i_session* s, v4i_expert_stat* out,
                                            size_t cap, size_t* count, v4i_error** err);
V4I_API v4i_status v4i_session_engram_stats(v4i_session* s, v4i_engram_stats* out,
                                            v4i_error** err);
V4I_API v4i_status v4i_session_get_metrics(const v4i_session* s,
                                           v4i_session_metrics* out, v4i_error** err);
V4I_API v4i_status v4i_session_timeline(v4i_session* s, int32_t format,
                                        v4i_buffer** out, v4i_error** err);
V4I_API v4i_status v4i_engine_metrics(const v4i_engine* e, int32_t format,
                                      v4i_buffer** out, v4i_error** err);

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif /* V4INFER_H_ */
