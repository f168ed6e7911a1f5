#!/bin/bash
# Everyday use, played from a folder of photos on: every command as a person would type it, and what must come of it.
#
#     scripts/everyday.sh [FOLDER]        (default: demo/everyday, begun anew)
#
# On copies of the demo's photos, and where IMGRET_TEST_DATA names a folder with photos/scenes on those too. It ends at the first
# thing that is not as it should be, says what, and exits with 1. IMGRET (default: imgret) is the command.

set -u
HERE=$(cd "$(dirname "$0")" && pwd)
WORK=${1:-demo/everyday}
IMGRET=${IMGRET:-imgret}
PYTHON=${PYTHON:-python3}

fail() {
  printf 'everyday: %s\n' "$*" >&2
  [ -s told ] && sed 's/^/  told: /' told >&2
  exit 1
}

say() { printf '\n== %s\n' "$*"; }

# run CODE COMMAND...: run it; its answer is in `answer`, what it told in `told`
run() {
  local wanted=$1 code
  shift
  printf '$ imgret'
  printf ' %q' "$@"
  echo
  $IMGRET "$@" >answer 2>told </dev/null
  code=$?
  [ $code = "$wanted" ] || fail "\`imgret $*\` exits with $code, not $wanted"
}

told() { grep -qF -- "$1" told || fail "not told: $1"; }
untold() { ! grep -qF -- "$1" told || fail "told, and should not be: $1"; }
answered() { grep -qF -- "$1" answer || fail "not answered: $1"; }
there() { [ -e "$1" ] || fail "$1 is not there"; }

# the photos: those of the demo, under a name with a space and an apostrophe
prepare() {
  say 'photos'
  rm -rf "$WORK"
  mkdir -p "$WORK" || exit 1
  cd "$WORK" || exit 1
  "$PYTHON" -c 'import sys; sys.path.insert(0, sys.argv[1]); import demo_photos; demo_photos.make("made")' "$HERE" || fail 'no photos'
  mkdir "Anna's pics"
  cp made/photos/*.jpg "Anna's pics"
  mv "Anna's pics/astronaut-1.jpg" 'late.jpg'
}

# 1. from a folder to answers
build_and_ask() {
  say 'build'
  run 0 build "Anna's pics" -o photos.imgret
  told '1/3 extract: photos.imgret/features.h5: 72 photos described'
  told 'photos.imgret is ready: imgret search photos.imgret PHOTO'
  there photos.imgret/imgret.json

  say 'ask'
  run 0 search photos.imgret made/query.jpg -k 3
  [ "$(cut -f3 answer | grep -c astronaut)" = 3 ] || fail 'the first three are not of the query'
  run 0 search photos.imgret made/query.jpg --html found.html
  grep -q 'data:image/' found.html || fail 'no photo is on the page'
  run 0 info photos.imgret
  answered "photos in       $PWD/Anna's pics"

  say 'again, and with a photo more'
  run 0 build "Anna's pics" -o photos.imgret
  told 'photos.imgret/index.h5 is up to date'
  mv late.jpg "Anna's pics/astronaut-1.jpg"
  run 0 build "Anna's pics" -o photos.imgret
  told 'what is still the same is taken over'
  untold 'photos.imgret/features.h5 is up to date'
  run 0 search photos.imgret made/query.jpg -k 4 --format tsv
  run 0 build "Anna's pics" -o photos.imgret -q
  [ -s told ] && fail 'with -q there is nothing to tell'

  say 'stopped and gone on with'
  $IMGRET build "Anna's pics" -o stopped.imgret -j1 >answer 2>told </dev/null &
  local pid=$!
  for _ in $(seq 300); do
    [ -d stopped.imgret/features.h5.parts ] && break
    sleep 0.1
  done
  kill -9 $pid 2>/dev/null
  wait $pid 2>/dev/null
  run 0 build "Anna's pics" -o stopped.imgret
  for name in features vlad index; do
    for folder in photos stopped; do
      content "$folder.imgret/$name.h5" >"$folder.content"
    done
    cmp -s photos.content stopped.content || fail "$name.h5 differs after a kill"
  done

  say 'the same by single commands'
  run 0 extract "Anna's pics" -o features.h5
  run 0 encode features.h5 -o vlad.h5
  run 0 index vlad.h5 -o index.h5
  run 0 search index.h5 made/query.jpg -k 5
  cp answer alone
  run 0 search photos.imgret made/query.jpg -k 5
  cmp -s alone answer || fail 'a build and single commands answer differently'

  say 'what is refused'
  run 1 build "Anna's pics" -o photos.imgret --config vlad-pca128
  told 'was built by rootsift-vlad64, not by vlad-pca128'
  run 1 build "Anna's pics" -o "Anna's pics"
  told 'is the folder of the photos'
  run 2 build "Anna's pics" -o new.imgret --config mine
  told "there is no ready config 'mine'"
  run 0 build --config help
  answered 'rootsift-vlad64'

  if [ -n "${IMGRET_TEST_DATA:-}" ] && [ -d "$IMGRET_TEST_DATA/photos/scenes" ]; then
    say 'photos of IMGRET_TEST_DATA, and a config that learns'
    run 0 build "$IMGRET_TEST_DATA/photos/scenes/images" -o scenes.imgret --config rootsift-vlad256 --learn made/learn
    told '2/5 extract, learn-features: '
    run 0 search scenes.imgret scenes.imgret/vlad.h5 -o ranking.h5
    run 0 evaluate ranking.h5 --protocol groups --truth "$IMGRET_TEST_DATA/photos/scenes/groundtruth.csv" --html scenes.html
    answered map
  fi
}

# content FILE: the identity of what is in a store
content() { $IMGRET info "$1" --json | "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["content"])'; }

# 2. answers that a person can read, and a script can take
answers_for_people() {
  say 'what matches'
  run 0 search photos.imgret "Anna's pics/chelsea-0.jpg" --format table -k 5
  answered 'itself'
  answered "Anna's pics/chelsea-"
  run 0 search photos.imgret "Anna's pics/chelsea-0.jpg" --keep-self --format tsv -k 1
  [ "$(sed -n 2p answer | cut -f2,3)" = "$(printf '1\tchelsea-0.jpg')" ] || fail 'the photo that asks has no rank'
  run 0 search photos.imgret "Anna's pics/chelsea-0.jpg" "Anna's pics/coins-0.jpg" -k all --matches-only --format paths0
  xargs -0 -r ls <answer >/dev/null || fail 'a path cannot be opened'
  run 0 search photos.imgret made/query.jpg --min-score 2 --format tsv
  [ "$(wc -l <answer)" -le 1 ] || fail 'a cosine of 2'
  say 'what is no index'
  run 1 search "Anna's pics" made/query.jpg
  told 'imgret build'
  run 1 search photos.imgret/vlad.h5 made/query.jpg
  told 'imgret index'
}

# 4. a nightly job that is true
nights() {
  say 'a night with a disk that is not mounted'
  run 0 build "Anna's pics" -o photos.imgret
  local before
  before=$(content photos.imgret/index.h5)
  mkdir away
  mv "Anna's pics"/c*.jpg away
  run 1 build -q "Anna's pics" -o photos.imgret
  told '--max-gone'
  [ "$(content photos.imgret/index.h5)" = "$before" ] || fail 'the index has changed'
  mv away/* "Anna's pics"
  run 0 build -q "Anna's pics" -o photos.imgret
  [ -s told ] && fail 'there is nothing to tell'

  say 'a night with a photo more, one less, and what is no photo'
  cp made/query.jpg "Anna's pics/new.jpg"
  rm "Anna's pics/rocket-0.jpg"
  : >"Anna's pics/raw.cr2"
  run 0 build "Anna's pics" -o photos.imgret
  told '1 file of types imgret does not read: 1 .cr2'
  run 0 build "Anna's pics" -o anew.imgret -q
  for name in features vlad index; do
    [ "$(content "photos.imgret/$name.h5")" = "$(content "anew.imgret/$name.h5")" ] || fail "$name.h5 is another than one made from scratch"
  done

  say 'a photo that cannot be read is told of once'
  head -c 2000 made/query.jpg >"Anna's pics/short.jpg"
  run 0 build -q "Anna's pics" -o photos.imgret
  told 'could not be used'
  run 0 build -q "Anna's pics" -o photos.imgret
  [ -s told ] && fail 'it is told of again'

  say 'learned apart from filled'
  run 0 codebook photos.imgret/vlad.h5 -m pq --set nbits=4 --set bytes=16 -o pq.h5
  run 0 index photos.imgret/vlad.h5 -c pq.h5 -o small.h5
  run 0 search small.h5 made/query.jpg -k 3
}

# 3. copies
find_copies() {
  say 'copies'
  local copy="Anna's pics/\"again\".jpg" small="Anna's pics/small.jpg"
  cp "Anna's pics/chelsea-0.jpg" "$copy"
  "$PYTHON" -c 'import sys; from PIL import Image; Image.open(sys.argv[1]).reduce(2).save(sys.argv[2])' "Anna's pics/chelsea-0.jpg" "$small"
  run 0 build "Anna's pics" -o photos.imgret
  run 0 duplicates photos.imgret --exact --format jsonl
  [ "$(wc -l <answer)" = 1 ] || fail 'there is one exact copy'
  run 0 duplicates photos.imgret --format paths0 --html copies.html
  for path in "$copy" "$small"; do
    grep -qzxF "$PWD/$path" answer || fail "$path is not among the copies"
  done
  xargs -0 ls <answer >/dev/null || fail 'a path cannot be opened'
  grep -q 'data:image/' copies.html || fail 'no photo is on the page'
  rm "$copy" "$small"
  run 0 duplicates photos.imgret --format paths0
  told 'no longer there'
}

prepare
build_and_ask
answers_for_people
find_copies
nights
say 'all is as it should be'
