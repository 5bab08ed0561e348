#!/usr/bin/env bash
# Prints the files with these endings that differ from the last commit or are new.
#   usage: changed.sh '*.cc' '*.h' ...
set -eu
cd "$(git rev-parse --show-toplevel)"
{
  git diff --name-only --diff-filter=d HEAD -- "$@"
  git ls-files --others --exclude-standard -- "$@"
} | sort -u
