/* hello.c: a model says something.  usage: hello MODEL PROMPT */
#include <stdio.h>
#include <v4infer/v4infer.h>

int main(int argc, char** argv) {
  v4i_engine_options eo = {.struct_size = sizeof eo, .abi_version = V4I_ABI_VERSION};
  v4i_model_options mo = {.struct_size = sizeof mo, .path = argc > 1 ? argv[1] : ""};
  v4i_generate_options run = {.struct_size = sizeof run, .max_tokens = 64};
  v4i_engine* engine = NULL;
  v4i_model* model = NULL;
  v4i_session* session = NULL;
  v4i_buffer* text = NULL;
  v4i_error* error = NULL;
  if (v4i_engine_create(&eo, &engine, &error) || v4i_model_open(engine, &mo, &model, &error) ||
      v4i_session_create(model, NULL, &session, &error) ||
      v4i_session_append_text(session, argc > 2 ? argv[2] : "Hello", V4I_ZSTR, V4I_TOK_ADD_BOS,
                              &error) ||
      v4i_session_generate(session, &run, &text, NULL, &error))
    fprintf(stderr, "hello: %s\n", v4i_error_message(error)); /* one sentence to act on */
  else
    printf("%.*s\n", (int)v4i_buffer_size(text), (const char*)v4i_buffer_data(text));
  const int failed = error != NULL;
  v4i_error_free(error);
  v4i_buffer_release(text);
  v4i_session_release(session); /* any order; NULL is fine */
  v4i_model_release(model);
  v4i_engine_release(engine);
  return failed;
}
