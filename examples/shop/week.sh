#!/usr/bin/env bash
# A turn of a shop's week, by commands alone: watch, gather, train or update, gate, export, release.
#
#   week.sh WEEK UNTIL     in the shop's folder; UNTIL, a date, is where the week's log ends
#
# Whatever stopped it, the same command goes on where it was: what is done is passed over. It ends with 0, also where the gate keeps the
# older model. Variables change it: INBOX (inbox.jsonl), TRAIN (settings of the first training), UPDATE (of later ones), MARGIN (.05),
# LOG (the request log of the server).
set -euo pipefail
week=$1 until=$2
run=runs/$week bundle=bundles/$week

completed() { grep -qs '"status": "completed"' "$1/run.json"; }
link() { ln -sfn "$1" "$2.next" && mv -T "$2.next" "$2"; }  # in one step

if [ -e "${LOG:-requests.jsonl}" ] && [ -e current ] && [ "$(readlink current)" != "$bundle" ]; then
    status=0  # what the model in service was asked, beside what it was trained on
    lightning-rec monitor log="${LOG:-requests.jsonl}" model=current || status=$?
    case $status in
        0) ;;
        3) echo "$week: something moved, see above" ;;
        *) echo "$week: nothing could be watched" ;;
    esac
fi

if [ ! -e "$run/run.json" ]; then  # the log of a training that has begun stays as it is
    lightning-rec events from="${INBOX:-inbox.jsonl}" to=log
fi
if completed "$run"; then
    :
elif [ -e "$run/run.json" ]; then
    lightning-rec train resume="$run"
elif [ -e released ]; then
    lightning-rec train from="$(readlink released)" run_dir="$run" protocol.until="$until" ${UPDATE:-}
else
    lightning-rec train data=table data.path=log data.user=user data.item=item data.time=time protocol=temporal \
        protocol.targets=all run_dir="$run" protocol.until="$until" ${TRAIN:-model=sasrec}
fi

if [ -e released ] && [ "$(readlink released)" != "$run" ]; then
    status=0
    lightning-rec gate run="$run" against="$(readlink released)" margin="${MARGIN:-.05}" to="$run.gate.json" || status=$?
    if [ "$status" = 3 ]; then
        echo "$week: the older model stays"
        exit 0
    elif [ "$status" != 0 ]; then
        exit "$status"
    fi
fi

[ -e "$bundle" ] || lightning-rec export run="$run" to="$bundle"
lightning-rec verify "$bundle"
link "$run" released
link "$bundle" current  # the server looks at it: serve model=current watch=5
