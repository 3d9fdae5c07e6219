# shellcheck shell=bash
# UUIDs for what the lab makes: sourced by the lab and inside its hosts.

# A UUID that is the same in every run, so that tests can name it.
uuid_of() {
  local sum
  sum=$(printf 'overtap-lab/%s' "$1" | md5sum)
  printf '%s-%s-4%s-8%s-%s\n' "${sum:0:8}" "${sum:8:4}" "${sum:13:3}" "${sum:17:3}" "${sum:20:12}"
}
