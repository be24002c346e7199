# Packages of another suite of Debian, without changes to this system; sourced. $work is a
# temporary folder, say and die print.
# shellcheck shell=bash disable=SC2154

# The base URIs of this release's packages in the system's own apt sources.
mirrors() {
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
    apt-get --print-uris update |
        sed -nE "s,^'(.*)/dists/($codename|stable|oldstable)/main/binary-.*,\1,p" | sort -u
}

# apt_init SUITE [SUFFIX [ARCHITECTURE]]: an apt with sources, lists and packages of
# its own, in $work/apt, for one suite of Debian. Security updates are beside the
# packages on a mirror: they have a suffix. Sources that aren't Debian's don't have
# its signature.
apt_init() {
    local suite=$1 suffix=${2-} arch=${3:-amd64} apt=$work/apt uri
    mkdir -p "$apt"/{lists,cache}/partial "$apt/cache/archives/partial"
    : >"$apt/status"
    for uri in $(mirrors); do
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri$suffix $suite main"
    done >"$apt/sources.list"
    [[ -s $apt/sources.list ]] || die "no Debian mirror among this system's apt sources"
    apt_options=(
        -q -o "Dir::State=$apt" -o "Dir::State::status=$apt/status"
        -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache"
        -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
        -o APT::Sandbox::User= -o "APT::Architecture=$arch" -o "APT::Architectures=$arch"
        -o Acquire::Languages=none -o Acquire::Retries=3
    )
    say "reading the package list of $suite"
    apt-get "${apt_options[@]}" update >&2 || true # the packages will be missed
}

# Fetches a package and prints where it is.
apt_fetch() {
    say "fetching $1"
    (cd "$work" && apt-get "${apt_options[@]}" download "$1" >&2)
    echo "$work/$1"_*.deb
}
