/* hello.c: a model says something.  usage: hello MODEL PROMPT */
#include <stdio.h>
#include <v4infer/v4infer.h>

int main(int argc, char** argv) {
  v4i_engine* engine = NULL;
  v4i_model* model = NULL;
  v4i_session* session = NULL;
  v4i_buffer* text = NULL;
  v4i_error* error = NULL;
  v4i_engine_options engine_options;
  v4i_model_options model_options;
  v4i_generate_options run;
  if (argc != 3) return 2;

  V4I_INIT(&engine_options);
  engine_options.abi_version = V4I_ABI_VERSION;
  V4I_INIT(&model_options);
  model_options.path = argv[1];
  V4I_INIT(&run);
  run.max_tokens = 64;

  if (v4i_engine_create(&engine_options, &engine, &error) == V4I_OK &&
      v4i_model_open(engine, &model_options, &model, &error) == V4I_OK &&
      v4i_session_create(model, NULL, &session, &error) == V4I_OK &&
      v4i_session_append_text(session, argv[2], V4I_ZSTR, V4I_TOK_ADD_BOS, &error) == V4I_OK &&
      v4i_session_generate(session, &run, &text, NULL, &error) == V4I_OK)
    printf("%.*s\n", (int)v4i_buffer_size(text), (const char*)v4i_buffer_data(text));
  else
    fprintf(stderr, "hello: %s\n", v4i_error_message(error));

  const int failed = error != NULL;
  v4i_error_free(error);
  v4i_buffer_release(text);
  v4i_session_release(session); /* in any order; NULL is fine */
  v4i_model_release(model);
  v4i_engine_release(engine);
  return failed;
}
