/* look.c: a model says what it sees.  usage: look MODEL IMAGE [QUESTION]
 *
 * IMAGE is a binary PPM (P6), whose pixels go to the library as they are, or a PNG, JPEG or WebP
 * file, whose bytes do.  The model must take images (DeepSeek-V4.1). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <v4infer/v4infer.h>

/* The bytes of a file of at most 64 MiB, with a zero behind them; NULL when it cannot be read. */
static char* read_file(const char* path, size_t* size) {
  const size_t most = (size_t)64 << 20;
  char* bytes = malloc(most + 1);
  FILE* f = fopen(path, "rb");
  if (f != NULL && bytes != NULL) {
    *size = fread(bytes, 1, most, f);
    bytes[*size] = 0;
  }
  const int failed = f == NULL || bytes == NULL || ferror(f) != 0 || *size == 0;
  if (f != NULL) fclose(f);
  if (!failed) return bytes;
  free(bytes);
  return NULL;
}

/* A PPM without comments is pixels, anything else a file that the library decodes. */
static void describe(const char* bytes, size_t size, v4i_image* image) {
  unsigned width = 0, height = 0;
  int at = 0;
  image->format = V4I_PIXELS_ENCODED;
  image->data = bytes;
  image->data_bytes = size;
  if (sscanf(bytes, "P6 %7u %7u 255%n", &width, &height, &at) != 2 || at == 0) return;
  if ((size_t)at >= size) return;
  image->format = V4I_PIXELS_RGB8;
  image->width = width;
  image->height = height;
  image->data = bytes + at + 1; /* behind one white space */
  image->data_bytes = size - (size_t)at - 1;
}

/* The question with its image, as tokens; malloc'ed, NULL on an error. */
static v4i_token* encode(const v4i_model* model, const char* question, size_t* count,
                         v4i_error** error) {
  v4i_chat_message message = {.struct_size = sizeof message,
                              .role = "user",
                              .content = question,
                              .content_len = V4I_ZSTR,
                              .image_count = 1};
  v4i_chat_options options = {.struct_size = sizeof options, .open_assistant = 1};
  v4i_token* tokens = NULL;
  if (v4i_chat_encode(model, &message, 1, &options, NULL, 0, count, error)) return NULL;
  tokens = malloc(*count * sizeof *tokens);
  if (tokens == NULL ||
      v4i_chat_encode(model, &message, 1, &options, tokens, *count, count, error) == V4I_OK)
    return tokens;
  free(tokens);
  return NULL;
}

static int32_t show(v4i_session* session, const v4i_step* step, void* user) {
  (void)session;
  (void)user;
  fwrite(step->text, 1, step->text_len, stdout);
  fflush(stdout);
  return 0;
}

int main(int argc, char** argv) {
  v4i_engine_options eo = {.struct_size = sizeof eo, .abi_version = V4I_ABI_VERSION};
  v4i_model_options mo = {.struct_size = sizeof mo, .path = argc > 1 ? argv[1] : ""};
  v4i_generate_options run = {.struct_size = sizeof run, .max_tokens = 64, .on_step = show};
  v4i_image image = {.struct_size = sizeof image};
  v4i_engine* engine = NULL;
  v4i_model* model = NULL;
  v4i_session* session = NULL;
  v4i_token* tokens = NULL;
  v4i_error* error = NULL;
  size_t size = 0, count = 0;
  char* file = argc > 2 ? read_file(argv[2], &size) : NULL;
  if (file == NULL) {
    fprintf(stderr, "look: usage: look MODEL IMAGE [QUESTION], IMAGE a file that can be read\n");
    return 2;
  }
  describe(file, size, &image);
  if (v4i_engine_create(&eo, &engine, &error) == V4I_OK &&
      v4i_model_open(engine, &mo, &model, &error) == V4I_OK)
    tokens = encode(model, argc > 3 ? argv[3] : "What is in this image?", &count, &error);
  const int done = tokens != NULL && v4i_session_create(model, NULL, &session, &error) == V4I_OK &&
                   v4i_session_append_media(session, tokens, count, &image, 1, &error) == V4I_OK &&
                   v4i_session_generate(session, &run, NULL, NULL, &error) == V4I_OK;
  if (done)
    printf("\n");
  else
    fprintf(stderr, "look: %s\n", error != NULL ? v4i_error_message(error) : "out of memory");
  v4i_error_free(error);
  v4i_session_release(session);
  v4i_model_release(model);
  v4i_engine_release(engine);
  free(tokens);
  free(file);
  return !done;
}
