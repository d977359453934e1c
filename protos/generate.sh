#!/bin/sh
# Runs protoc over the API.
#   generate.sh VENV stubs DIR        write the Python stubs into DIR/vecserve/v1 and DIR/vecserve/oip
#   generate.sh VENV descriptors FILE write a descriptor set, imports and comments included
# VENV holds grpcio-tools, mypy-protobuf and googleapis-common-protos.
set -eu
venv=$(cd "$1" && pwd)
target=$3
protos=$(cd "$(dirname "$0")" && pwd)
google=$("$venv/bin/python" -c 'import pathlib, google.rpc; print(pathlib.Path(google.rpc.__path__[0]).parents[1])')
PATH="$venv/bin:$PATH" # where protoc finds the mypy plugins

protoc() { "$venv/bin/python" -m grpc_tools.protoc -I"$protos" -I"$google" "$@"; }

case $2 in
stubs)
  mkdir -p "$target/vecserve/v1" "$target/vecserve/oip"
  touch "$target/vecserve/v1/__init__.py" "$target/vecserve/oip/__init__.py"
  protoc --python_out="$target" --mypy_out=quiet:"$target" "$protos"/vecserve/*/*.proto
  # Files without a service would get empty gRPC modules.
  protoc --grpc_python_out="$target" --mypy_grpc_out=quiet:"$target" "$protos"/vecserve/*/*_service.proto
  ;;
descriptors)
  protoc --include_imports --include_source_info --descriptor_set_out="$target" "$protos"/vecserve/*/*.proto
  ;;
*)
  echo "generate.sh: the second argument is 'stubs' or 'descriptors', not '$2'" >&2
  exit 2
  ;;
esac
