#!/usr/bin/env bash
# Trains on several hosts through DeepSpeed's launcher, over ssh and pdsh. docs/multinode.md explains it.
#
#     scripts/launch_multinode.sh HOSTFILE RECIPE [key=value ...]
#
# HOSTFILE as DeepSpeed takes it, a host a line: "node1 slots=8". Run it on the first host, in the checkout, which all
# hosts see under the same path, as they do the run folder. Read from the environment, all optional:
#
#     MASTER_ADDR, MASTER_PORT   of the first host, as the others reach it (its name in HOSTFILE; 29500)
#     CHECK=0                    do not run `affectgpt doctor` on all hosts first
#     SSH_OPTIONS                more options for ssh, for example "-p 2222 -i ~/.ssh/cluster"
set -euo pipefail

if (($# < 2)); then
    sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p}' "$0" >&2
    exit 2
fi
hostfile=$1
shift
if [[ ! -f $hostfile ]]; then
    echo "$hostfile: expected a file with a line 'host slots=N' for each host, found none" >&2
    exit 2
fi
for program in pdsh ssh deepspeed; do
    if ! command -v "$program" > /dev/null; then
        echo "$program is not installed, or not on PATH. Debian: apt-get install pdsh openssh-client; pip install -e '.[deepspeed]'" >&2
        exit 2
    fi
done
first=$(awk '!/^[[:space:]]*(#|$)/ { print $1; exit }' "$hostfile")

# What the hosts get of this environment. Variables are written on the remote command line, which every user of a host
# can read: no token ever goes this way. On each host, log in once: `hf auth login`, `wandb login`.
DS_ENV_FILE=$(mktemp)
export DS_ENV_FILE
trap 'rm -f "$DS_ENV_FILE"' EXIT
while IFS='=' read -r name value; do
    case $name in
        *TOKEN* | *KEY* | *SECRET* | *PASSWORD*) continue ;;
        CUDA_* | GLOO_* | NCCL_* | FI_* | UCX_* | OMP_NUM_THREADS | TORCH_* | TRITON_CACHE_DIR | HF_HOME | HF_HUB_OFFLINE) ;;
        *) continue ;;
    esac
    if [[ $value == *[\"\$\`\\]* ]]; then
        echo "$name: a value with one of \" \$ \` \\ cannot be passed on to the hosts; unset it or set it on each of them" >&2
        exit 2
    fi
    echo "$name=$value" >> "$DS_ENV_FILE"
done < <(env)

export PDSH_RCMD_TYPE=ssh
# Without signs of life ssh would wait for a host that is gone until TCP gives up, after many minutes.
export PDSH_SSH_ARGS_APPEND="${SSH_OPTIONS:-} -o ServerAliveInterval=10 -o ServerAliveCountMax=4"

launch() {
    deepspeed --hostfile "$hostfile" --force_multi --no_ssh_check --master_addr "${MASTER_ADDR:-$first}" \
        --master_port "${MASTER_PORT:-29500}" --module "$@"
}

if [[ ${CHECK:-1} != 0 ]]; then
    launch train.doctor "$@"
fi
launch train.run "$@"
