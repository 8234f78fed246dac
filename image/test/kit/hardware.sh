# The test's board: a sound card that is a loop, and GPIO lines that are a kernel's simulation. Run as root at each start.
set -e
modprobe snd-aloop pcm_substreams=2
modprobe gpio-sim
config=/sys/kernel/config/gpio-sim/board
mkdir -p $config/bank0/line17 $config/bank0/line25
echo 28 > $config/bank0/num_lines
echo BUTTON > $config/bank0/line17/name
echo LED > $config/bank0/line25/name
echo 1 > $config/live
ln -sf /sys/devices/platform/$(cat $config/dev_name)/$(cat $config/bank0/chip_name) /run/board
echo pull-up > /run/board/sim_gpio17/pull
udevadm settle --timeout=90
