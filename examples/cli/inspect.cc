// v4infer inspect: what a model is, and what it takes to run it.
#include <cstdio>
#include <map>
#include <memory>

#include "common.h"

namespace cli {
namespace {

struct Args {
  ModelArgs model;
  bool tensors = false, json = false;
};

std::string line(const char* name, const std::string& value) {
  char text[512];
  std::snprintf(text, sizeof text, "  %-24s %s\n", name, value.c_str());
  return text;
}

std::string bytes_line(const char* name, const Json& bytes) {
  return line(name, human_bytes(bytes.get<double>()) + "  (" + bytes.dump() + " bytes)");
}

std::string layer_text(const Json& l) {
  std::string out = l["attention"].get<std::string>();
  if (l["ratio"].get<int>() > 0) out += " 1:" + l["ratio"].dump();
  if (l["indexer"].get<bool>()) out += " + indexer";
  return out + ", " + l["router"].get<std::string>() + " routing, " + l["rope"].get<std::string>() +
         " rope";
}

// Layers with the same role on one line: "csa 1:4 ...  layers 2 4 6".
std::string plan_text(const Json& layers) {
  std::vector<std::string> order;
  std::map<std::string, std::string> where;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string role = layer_text(layers[i]);
    if (where[role].empty()) order.push_back(role);
    where[role] += " " + std::to_string(i);
  }
  std::string out;
  for (const std::string& role : order) out += "  " + role + ":" + where[role] + "\n";
  return out;
}

void print_summary(const Json& d) {
  std::string out = d["path"].get<std::string>() + "\n";
  const Json& c = d["config"];
  out += line("model", c["model_type"].get<std::string>());
  out += line("digest", d["digest"].get<std::string>());
  out += line("parameters", d["sizes"]["parameters"].dump());
  out += line("layers, width", c["layers"].dump() + ", " + c["width"].dump());
  out += line("experts", c["experts"].dump() + ", " + c["experts_active"].dump() + " per token, " +
                             c["shared_experts"].dump() + " shared");
  out += line("vocabulary",
              c["vocab"].dump() + (d["tokenizer"].get<bool>() ? "" : "  (no tokenizer.json)"));
  out += line("draft stages", d["plan"]["draft_stages"].dump());
  out += "layers\n" + plan_text(d["plan"]["layers"]);
  out += "sizes\n";
  out += line("tensors, files", d["sizes"]["tensors"].dump() + ", " + d["sizes"]["files"].dump());
  for (const char* key :
       {"file_bytes", "expert_bytes", "dense_bytes", "draft_bytes", "weight_bytes_per_token"})
    out += bytes_line(key, d["sizes"][key]);
  out += "memory\n";
  for (const char* key :
       {"mapped_bytes", "workspace_bytes", "kv_fixed_bytes", "kv_bytes_per_token"})
    out += bytes_line(key, d["memory"][key]);
  for (const auto& [tokens, bytes] : d["memory"]["kv_bytes_at"].items())
    out += bytes_line(("KV of " + tokens + " tokens").c_str(), bytes);
  print_text(out);
}

void print_tensors(const Json& tensors) {
  for (const Json& t : tensors) {
    char text[512];
    std::snprintf(text, sizeof text, "%-56s %-8s %-16s %12s\n",
                  t["name"].get<std::string>().c_str(), t["dtype"].get<std::string>().c_str(),
                  t["shape"].dump().c_str(), human_bytes(t["bytes"].get<double>()).c_str());
    print_text(text);
  }
}

void inspect(const Args& a) {
  const Opened opened = open_model(a.model);
  Json d = Json::parse(take(opened.model.describe(a.tensors ? V4I_DESCRIBE_TENSORS : 0u)));
  d["open_seconds"] = opened.seconds;
  if (a.json) return print_json(d);
  print_summary(d);
  if (a.tensors) print_tensors(d["tensors"]);
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* c = app.add_subcommand("inspect", "config, plan, sizes, memory needed");
  add_model_args(*c, args->model);
  c->add_flag("--tensors", args->tensors, "list every tensor");
  c->add_flag("--json", args->json, "one JSON object on stdout");
  c->callback([args] { inspect(*args); });
}

}  // namespace cli
