// Writes the file; see chart.h.
#include "chart.h"

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "common.h"

namespace cli {
namespace {

constexpr double kLabels = 120, kPanel = 300, kGap = 70, kBar = 20, kStep = 28, kTop = 64;
const char* const kColours[] = {"#4c72b0", "#dd8452", "#55a868"};

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else
      out += c;
  }
  return out;
}

std::string text_at(double x, double y, const std::string& text, const char* anchor, int size) {
  char head[128];
  std::snprintf(head, sizeof head,
                "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" font-size=\"%d\">", x, y, anchor,
                size);
  return head + escaped(text) + "</text>\n";
}

std::string bar_at(double x, double y, double width, const char* colour) {
  char text[160];
  std::snprintf(text, sizeof text,
                "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.0f\" fill=\"%s\"/>\n", x, y,
                width, kBar, colour);
  return text;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

std::string panel_at(double left, const Panel& panel, const char* colour) {
  double most = 1e-300;
  for (const double v : panel.values) most = std::max(most, v);
  std::string out = text_at(left, kTop - 14, panel.title, "start", 13);
  double y = kTop;
  for (const double v : panel.values) {
    const double width = kPanel * std::max(v, 0.0) / most;
    out += bar_at(left, y, width, colour);
    out += text_at(left + width + 5, y + kBar - 5, number(v), "start", 12);
    y += kStep;
  }
  return out;
}

}  // namespace

void write_chart(const std::string& path, const std::string& title,
                 const std::vector<std::string>& labels, const std::vector<Panel>& panels) {
  const double width = kLabels + static_cast<double>(panels.size()) * (kPanel + kGap);
  const double height = kTop + static_cast<double>(labels.size()) * kStep + 8;
  char head[160];
  std::snprintf(head, sizeof head,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
                "font-family=\"sans-serif\">\n",
                width, height);
  std::string svg = head + text_at(10, 22, title, "start", 15);
  double y = kTop;
  for (const std::string& label : labels) {
    svg += text_at(kLabels - 10, y + kBar - 5, label, "end", 12);
    y += kStep;
  }
  for (std::size_t i = 0; i < panels.size(); ++i)
    svg += panel_at(kLabels + static_cast<double>(i) * (kPanel + kGap), panels[i],
                    kColours[i % std::size(kColours)]);
  std::ofstream file(path, std::ios::binary);
  file << svg << "</svg>\n";
  file.close();
  if (!file) throw Failure(path + ": cannot be written");
}

}  // namespace cli
