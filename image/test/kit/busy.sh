# Changes what the appliance keeps, again and again.
while :; do
  for volume in 31 47 63 79; do /opt/voice-appliance/bin/voice-appliance ctl volume $volume; done
done
