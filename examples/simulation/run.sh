#!/usr/bin/env bash
# A world of made-up users, by commands alone: an A/B and an A/A test, off-policy estimates and an update, each beside the truth.
#
#   run.sh SEED FOLDER     FOLDER is made; it ends with the files of FOLDER/found
#
# Two models, by popularity (pop) and of sequences (seq), are trained on the log of the world. Variables change it: WORLD (its settings),
# TRAIN (of both trainings), SEQ (of the model of sequences), DAYS (of the tests, 7), EXPLORE (of the log for off-policy estimates).
set -euo pipefail
seed=$1
mkdir -p "$2" && cd "$2" && mkdir found
days=${DAYS:-7}

lightning-rec simulate world to=world seed="$seed" ${WORLD:-users=1000 items=50 days=20 activity=.4 organic=1 feedback=0}

train() {  # LOG RUN SETTINGS
    lightning-rec train data=table data.path="$1" data.user=user data.item=item data.time=time protocol=temporal \
        protocol.val_from=.92 protocol.test_from=.96 protocol.targets=all logger=[] baseline=null examples=0 ${TRAIN:-trainer=cpu} \
        run_dir="$2" "${@:3}"
}
seq=(model=sasrec ${SEQ:-model.dim=32 batches.max_len=20 batches.batch_size=64 trainer.max_epochs=10})
train world/log.parquet pop model=popularity
train world/log.parquet seq "${seq[@]}"

play() {  # NAME SETTINGS OF THE PLAY -- SETTINGS OF THE SERVER
    local name=$1 said=() status=0
    shift
    while [ "$1" != -- ]; do said+=("$1"); shift; done
    shift
    lightning-rec serve port=0 log="$name.jsonl" log_items=true log_ids=plain "$@" > "$name.log" 2>&1 &
    local server=$!
    until grep -qs "answers at" "$name.log"; do kill -0 "$server" && sleep .2; done
    lightning-rec simulate play world=world to="$name" url="$(grep -om1 'http://127.0.0.1:[0-9]*' "$name.log")" "${said[@]}" || status=$?
    kill "$server" && wait "$server" || true
    return "$status"
}

# What would be if everybody had the one or the other, and what a test of both finds.
list=(days="$days" k=5 explore=epsilon:0.2 pool=20)
play all_pop "${list[@]}" -- model=pop
play all_seq "${list[@]}" -- model=seq
play ab "${list[@]}" -- variants="{pop: pop, seq: seq}" experiment="ab$seed"
lightning-rec abtest log=ab.jsonl to=found/ab.json
lightning-rec simulate effect plays="{pop: all_pop, seq: all_seq}" found=found/ab.json to=found/ab_effect.json
play aa "${list[@]}" -- variants="{one: seq, same: seq}" experiment="aa$seed"
lightning-rec abtest log=aa.jsonl to=found/aa.json
lightning-rec simulate effect plays="{one: all_seq, same: all_seq}" found=found/aa.json to=found/aa_effect.json

# From one item at a time with much chance: what the model without chance, and the other model, would earn.
play chance days=3 k=1 explore="${EXPLORE:-epsilon:0.8}" pool=1000 -- model=seq
for policy in seq pop; do
    lightning-rec recommend model=$policy k=1 --input world/log.parquet --output $policy.parquet
    lightning-rec offpolicy log=chance.jsonl policy=$policy.parquet to=found/log_$policy.json
    lightning-rec offpolicy log=chance/outcomes.parquet policy=$policy.parquet unit=user to=found/off_$policy.json
    lightning-rec simulate value world=chance policy=$policy.parquet to=found/true_$policy.json
done

# A week later: the model as it was, gone on with, and trained anew, each told all that users did.
lightning-rec train from=seq data.path=ab/log.parquet trainer.max_epochs=5 run_dir=updated
train ab/log.parquet anew "${seq[@]}"
for model in pop seq updated anew; do
    lightning-rec recommend model=$model k=5 --input ab/log.parquet --output later_$model.parquet
    lightning-rec simulate value world=ab policy=later_$model.parquet after=true to=found/later_$model.json
done
