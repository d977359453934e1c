#!/bin/sh
# Installs the load harnesses that docs/load-testing.md has recipes for into DIR/bin, at the versions they were tried with.
#   install.sh DIR
# ghz, grpcurl and k6 need Go. perf_analyzer needs Python, apt-get and Linux on x86-64. h2load comes from the system:
# it is in Debian's nghttp2-client.
set -eu
mkdir -p "$1/bin"
dir=$(cd "$1" && pwd)

for tool in \
  github.com/bojand/ghz/cmd/ghz@v0.121.0 \
  github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4 \
  go.k6.io/k6@v1.8.1; do
  GOBIN="$dir/bin" go install "$tool"
done

# The newest wheel that has perf_analyzer in it and runs with glibc 2.36; of PyPI's own perf-analyzer only the name is
# there. It is linked with two libraries that the wheel lacks.
python3 -m venv "$dir/python"
"$dir/python/bin/python" -m pip install --quiet --disable-pip-version-check tritonclient==2.51.0 nvidia-cuda-runtime-cu12
(cd "$dir" && apt-get download --quiet libb64-0d && dpkg -x libb64-0d_*.deb system)
cat >"$dir/bin/perf_analyzer" <<EOF
#!/bin/sh
LD_LIBRARY_PATH="\$(dirname "\$(find '$dir' -name 'libcudart.so.12')"):\$(dirname "\$(find '$dir' -name 'libb64.so.0d')")" \\
  exec "$dir/python/bin/perf_analyzer" "\$@"
EOF
chmod +x "$dir/bin/perf_analyzer"
