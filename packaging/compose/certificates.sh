#!/bin/sh
# A CA, certificates for `db` and `s3`, and passwords, in the folder that is named. What is there already stays.
set -eu
umask 077
cd "$1"
[ ! -e ca.pem ] || exit 0

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 3650 -subj "/CN=Holdpoint example CA" \
    -keyout ca.key -out ca.new
for server in db s3; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj "/CN=$server" -keyout "$server.key" -out "$server.request"
    printf 'subjectAltName=DNS:%s\nbasicConstraints=CA:FALSE\n' "$server" > "$server.extensions"
    openssl x509 -req -days 3650 -in "$server.request" -CA ca.new -CAkey ca.key -extfile "$server.extensions" -out "$server.pem"
    openssl rand -hex 24 > "$server.password"
    rm "$server.request" "$server.extensions"
done
rm ca.key

# MinIO's names for them.
mkdir s3
mv s3.key s3/private.key
mv s3.pem s3/public.crt
# PostgreSQL's account in its image.
chown 999:999 db.key db.pem db.password
chmod 755 . && chmod 644 db.pem ca.new
mv ca.new ca.pem
