// Bars beside each other, as SVG.
#pragma once

#include <string>
#include <vector>

namespace cli {

struct Panel {
  std::string title;  // with the unit
  std::vector<double> values;
};

// A row of bars for each label, one bar a panel; written to `path`.
void write_chart(const std::string& path, const std::string& title,
                 const std::vector<std::string>& labels, const std::vector<Panel>& panels);

}  // namespace cli
