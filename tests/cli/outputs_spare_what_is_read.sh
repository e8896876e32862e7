#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# No file that a command writes lands in what it reads, whatever its name; devices, pipes and links stay what they are;
# and an output that cannot be written is refused before the work, not after it.
set -euo pipefail

. "$PHY_SOURCE/tests/support/tiny_donor.sh"
. "$PHY_SOURCE/tests/support/commands.sh"
cp -r donor kept
python3 -c 'import struct, sys
sys.stdout.buffer.write(b"".join(struct.pack("<I", i * i * 31 % 512) for i in range(120)))' >ids
donor_digest() { (cd donor && find . -type f -printf '%p %s\n' | sort && find . -type f -exec sha256sum {} + | sort); }
before=$(donor_digest)
spares() {
    fails "$@"
    [[ $(donor_digest) == "$before" ]] || { echo "$*: the donor was changed"; exit 1; }
}
calibrate=("$PHYSARIUM" calibrate donor --ids ids -q -o)
logits=("$PHYSARIUM" logits donor --ids "1,2,3" -q -o)
eval=("$PHYSARIUM" eval donor --ids ids --ctx 32 -q --html)
audit=("$PHYSARIUM" audit donor --device cpu:ref --paths full_mmap --no-bounds --no-oracle -q)

for output in donor/model.safetensors donor/new ./donor/../donor/config.json donor/physarium/../x; do
    [[ $output != donor/physarium/* ]] || mkdir -p donor/physarium
    spares 2 "lies inside donor" "${calibrate[@]}" "$output"
    spares 2 "lies inside donor" "${logits[@]}" "$output"
    spares 2 "lies inside donor" "${eval[@]}" "$output"
    spares 2 "lies inside donor" "${audit[@]}" --html "$output"
    spares 2 "lies inside donor" "${audit[@]}" --junit "$output"
done
ln -s donor linked
spares 2 "lies inside donor" "${calibrate[@]}" linked/new
spares 2 "lies inside donor" "${audit[@]}" -o donor
spares 2 "lies inside donor" "${audit[@]}" -o donor/audit
spares 2 "lies inside donor" "${audit[@]}" --lock donor
cp ids ids.kept
echo 'the cat sat on the mat' >text
cp text text.kept
cp "$PHY_SOURCE/audits/bounds.json" bounds.json
spares 2 "is what is read" "${eval[@]}" ids
spares 2 "is what is read" "${calibrate[@]}" ids
spares 2 "is what is read" "$PHYSARIUM" calibrate donor --text text -o ./text -q
spares 2 "is what is read" "$PHYSARIUM" audit donor --device cpu:ref --paths exact -q --bounds bounds.json --html bounds.json
spares 2 "is what is read" "$PHYSARIUM" audit donor --device cpu:ref --paths exact -q --bounds bounds.json --junit bounds.json
cmp ids ids.kept
cmp text text.kept
cmp bounds.json "$PHY_SOURCE/audits/bounds.json"
spares 2 "lies inside donor" "$PHYSARIUM" bench generate donor -o donor/bench.json -q

# Before the work: nothing has been measured when these are refused.
spares 2 "is missing" "${calibrate[@]}" absent/x
spares 2 "a directory" "${logits[@]}" kept
spares 2 "is missing" "$PHYSARIUM" bench copy -q -o absent/bench.json
spares 2 "is missing" "${audit[@]}" --html absent/x
spares 2 "no slash" "${eval[@]}" x/
spares 2 "is missing" "${audit[@]}" -o made --junit absent/x
spares 2 "no directory" "${audit[@]}" -o text
mkdir full
if mount -t tmpfs -o size=4k none full 2>/dev/null; then
    head -c 4096 /dev/zero >full/fills_it
    for option in -o --html --junit --lock; do spares 3 "full/x: No space left" "${audit[@]}" "$option" full/x; done
    umount full
fi
rmdir full

# Two outputs of one name, however it is spelled, would leave one of them.
ln -s . around
for second in made/audit.json ./made/audit.md around/made/audit.html "$PWD/made//audit.json"; do
    spares 2 "two outputs of one name" "${audit[@]}" -o made --junit "$second"
done
spares 2 "two outputs of one name" "${audit[@]}" --html made --junit ./made
spares 2 "two outputs of one name" "$PHYSARIUM" audit donor --device cpu:ref --paths exact -q --lock made --html made/bounds.json
spares 2 "two outputs of one name" "$PHYSARIUM" bench copy --csv bench.json -q
spares 2 "two outputs of one name" "$PHYSARIUM" bench copy -o made --csv a --html ./a -q
[[ ! -e made && ! -e bench.json && ! -e a ]]
[[ $("${audit[@]}" --html /dev/stdout --junit /dev/stdout | grep -c -e '</html>' -e '</testsuite>') == 2 ]]
rm around

# A pipe gets all of it, a link stays one, and so does a directory of results that is there already.
"${logits[@]}" whole
"${logits[@]}" /proc/self/fd/1 | cmp - whole
"${calibrate[@]}" scales
"${calibrate[@]}" /proc/self/fd/1 | cmp - scales
mkfifo pipe
cat pipe >through &
"${calibrate[@]}" pipe
wait
[[ -p pipe ]]
cmp through scales
echo old >target
ln -s target link
"${logits[@]}" link
[[ -L link ]]
cmp target whole
code=0
"${logits[@]}" /proc/self/fd/1 >/dev/full 2>stderr || code=$?
[[ $code == 3 && $(cat stderr) == "/proc/self/fd/1: No space left on device" ]]
"${audit[@]}" -o made --junit made/junit.xml --html made/page.html
[[ -s made/junit.xml && -s made/page.html && -s made/audit.json ]]
"${audit[@]}" -o .
[[ -s audit.json && $(donor_digest) == "$before" ]]
if compgen -G '*partial*' >/dev/null; then echo "left over: $(echo ./*partial*)"; exit 1; fi
