#!/bin/sh
# Make the secrets that compose.yaml mounts, once: what is there already stays. The providers' own keys are yours to put in.
set -eu
umask 077
folder="$(dirname "$0")/secrets"
mkdir -p "$folder"
cd "$folder"
word() { head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
[ -s pepper.key ] || head -c 32 /dev/urandom > pepper.key
[ -s digest.key ] || head -c 32 /dev/urandom > digest.key
[ -s db_password ] || word > db_password
[ -s redis_password ] || word > redis_password
[ -s redis.conf ] || printf 'requirepass %s\n' "$(cat redis_password)" > redis.conf
[ -s storage_url ] || printf 'postgresql://ostiary:%s@postgres:5432/ostiary' "$(cat db_password)" > storage_url
[ -s counters_url ] || printf 'redis://:%s@redis:6379/0' "$(cat redis_password)" > counters_url
[ -s search_key ] || word > search_key
[ -s openai_api_key ] || printf 'put-the-key-here' > openai_api_key
# Compose mounts files as they are: the gateways run as 10001, the others as users of their own.
chmod 0644 ./*
echo "secrets are in $folder; put the provider's key into openai_api_key"
