# Functions for scripts that make images and run them; sourced, from the root of the source tree.

# Until COMMAND succeeds; at most SECONDS.
within() { # SECONDS COMMAND...
  local until=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $until ] || return 1
    read -r -t 0.5 <> <(:) || true
  done
}

engine=''
# A Docker engine of our own from Debian's packages, unpacked into .deps/docker (as root); DOCKER_HOST names it. Its networks
# need the machine's own iptables.
start_engine() { # WORK-FOLDER
  command -v iptables >/dev/null || { echo "the engine needs iptables: apt-get install iptables" >&2; return 1; }
  local at=$PWD/.deps/docker package
  if [ ! -x "$at/tree/usr/sbin/dockerd" ]; then
    mkdir -p "$at/debs"
    (cd "$at/debs" && apt-get download -qq docker.io containerd runc tini && for package in *.deb; do dpkg -x "$package" ../tree; done)
  fi
  PATH=$at/tree/usr/sbin:$at/tree/usr/bin:$PATH
  export DOCKER_HOST=unix://$1/docker.sock
  dockerd --data-root "$at/data" --exec-root "$1/exec" --pidfile "$1/pid" -H "$DOCKER_HOST" --storage-driver overlay2 \
    --default-ulimit nofile=20000:20000 >"$1/dockerd.log" 2>&1 &
  engine=$!
  within 60 docker info || { tail -5 "$1/dockerd.log" >&2; echo "the engine did not start" >&2; return 1; }
}

stop_engine() { [ -z "$engine" ] || { kill "$engine" && wait "$engine" || true; }; }

# What build_image takes: BASE, a root file system in place of debian:bookworm-slim (empty: the registry's); PROGRAMS, not
# empty: build/release/bin as it is, in place of compiling in the image.
image_arguments=()
prepare_images() { # WORK-FOLDER BASE PROGRAMS
  image_arguments=(--build-arg "REVISION=$(git rev-parse HEAD)")
  # As Debian's own image has them; not every runtime has a path of its own.
  [ -z "$2" ] || docker import -c 'CMD ["bash"]' -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    "$2" debian:bookworm-slim >/dev/null
  if [ -n "$3" ]; then
    cmake --install build/release --prefix "$1/tree/out" --strip >/dev/null
    tar -C "$1/tree" -c out | docker import - llava-programs >/dev/null
    image_arguments+=(--build-arg CPU=llava-programs)
  fi
}

build_image() { # TARGET
  DOCKER_BUILDKIT=1 docker build -q -f docker/Dockerfile --target "$1" -t "$1" "${image_arguments[@]}" . >/dev/null
}

megabytes() { echo $(($(docker image inspect -f '{{.Size}}' "$1") / 1000000)); } # IMAGE
