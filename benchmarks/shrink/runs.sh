#!/bin/bash
# The runs of this folder's page, below the folder that is named. Needs LIGHTNING_REC_DATA.
set -e
R=$(realpath -m "$1")
T="lightning-rec train logger=none"
S="experiment=sasrec_ml1m batches.max_len=100"
B="experiment=bert4rec_ml1m batches.max_len=100"
H="experiment=search_home_depot task.ranked=[]"

$T experiment=deepfm_frappe run_dir="$R/deepfm"
$T $S optimizer.lr=0.002 trainer.max_epochs=6 trainer.check_val_every_n_epoch=3 run_dir="$R/sasrec"
$T $B optimizer.lr=0.002 trainer.max_epochs=12 trainer.check_val_every_n_epoch=6 run_dir="$R/bert4rec"
$T $H model=bi_encoder adapter=frozen run_dir="$R/bi"
$T $H model=cross_encoder trainer.max_steps=100 run_dir="$R/cross"

S="$S baseline=null optimizer.lr=0.001 trainer.check_val_every_n_epoch=1 trainer.max_epochs=1"
P="method=prune method.run=$R/sasrec"
$T $S $P method.of=weights run_dir="$R/sasrec_weights"
$T $S $P method.of=units run_dir="$R/sasrec_units"
$T $S $P method.of=layers model.depth=1 run_dir="$R/sasrec_layers"
$T $S optimizer.lr=0.004 trainer.max_epochs=4 method=distil method.teacher="$R/sasrec" model.dim=32 \
  model.depth=1 run_dir="$R/sasrec_distil"
$T $S optimizer.lr=0.004 trainer.max_epochs=4 model.dim=32 model.depth=1 run_dir="$R/sasrec_alone"

B="$B baseline=null schedule.warmup=0 trainer.max_epochs=2 trainer.check_val_every_n_epoch=2"
P="method=prune method.run=$R/bert4rec"
$T $B $P method.of=weights run_dir="$R/bert4rec_weights"
$T $B $P method.of=heads run_dir="$R/bert4rec_heads"
$T $B $P method.of=layers model.depth=1 run_dir="$R/bert4rec_layers"

D="experiment=deepfm_frappe baseline=null"
$T $D trainer.max_epochs=3 method=prune method.run="$R/deepfm" run_dir="$R/deepfm_weights"
$T $D trainer.max_epochs=12 method=distil method.teacher="$R/deepfm" model.dim=8 'model.mlp=[32]' \
  run_dir="$R/deepfm_distil"
$T $D trainer.max_epochs=12 model.dim=8 'model.mlp=[32]' run_dir="$R/deepfm_alone"
