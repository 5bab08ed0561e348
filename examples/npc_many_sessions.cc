// npc_many_sessions.cc: a village of 20 characters who think at the same time.
//   usage: npc_many_sessions MODEL [TICKS]
//
// All of them know the same rules, so the rules are computed once and forked: the KV
// state is shared until they differ.  Each tick of the game is one v4i_step_many(): one
// batch through the model, a word or so for everybody.  A character who fails (a full
// context) has a status of its own and stops nobody else.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <v4infer/session.hpp>
#include <vector>

namespace {

constexpr int kCharacters = 20;
constexpr char kRules[] = "You live in a small village by the sea. Say what you do, in one line. ";

int complain(const v4infer::Error& e) {
  std::fprintf(stderr, "npc_many_sessions: %s\n", e.message());
  return 1;
}

struct Village {
  std::vector<v4infer::Session> people;
  std::vector<std::string> said;
};

v4infer::Error populate(v4infer::Session& rules, Village& village) {
  for (int i = 0; i < kCharacters; ++i) {
    auto person = rules.fork();
    if (!person) return v4infer::Error(person.error().code());
    const std::string name = "Villager " + std::to_string(i) + ":";
    if (auto e = person->append(name)) return e;
    village.people.push_back(*std::move(person));
    village.said.push_back(name);
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const int ticks = argc > 2 ? std::atoi(argv[2]) : 24;
  auto engine = v4infer::Engine::create();
  auto model = v4infer::Model::open(*engine, argv[1]);
  if (!model) return complain(model.error());
  auto rules = v4infer::Session::create(*model);
  if (!rules) return complain(rules.error());
  if (auto e = rules->append(kRules, V4I_TOK_ADD_BOS)) return complain(e);
  if (auto e = rules->prefill()) return complain(e);

  Village village;
  if (auto e = populate(*rules, village)) return complain(e);

  for (int tick = 0; tick < ticks; ++tick) {
    std::vector<v4i_session*> awake;
    std::vector<std::size_t> who;
    for (std::size_t i = 0; i < village.people.size(); ++i) {
      auto info = village.people[i].info();
      if (!info || info->finish != V4I_FINISH_NONE) continue;  // has said everything
      awake.push_back(village.people[i].get());
      who.push_back(i);
    }
    std::vector<v4i_step> steps;
    std::vector<v4i_status> status;
    if (auto e = v4infer::step_many(awake, steps, status)) return complain(e);
    for (std::size_t k = 0; k < awake.size(); ++k)
      if (status[k] == V4I_OK) village.said[who[k]].append(steps[k].text, steps[k].text_len);
  }
  for (const std::string& line : village.said) std::printf("%s\n", line.c_str());
  if (auto m = engine->memory())
    std::printf("KV state of all together: %llu bytes\n",
                static_cast<unsigned long long>(m->host_kv));
  return 0;
}
