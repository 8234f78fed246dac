"""The mixer elements of the codecs on the boards, as their drivers name them, with their ranges.

Responsible for: those that decide whether a board is heard and hears, read where each list says; no board was at hand.
Not for: the many others that a codec has.
"""

from __future__ import annotations

from tests.fakes.card.mixer import Control

# torvalds/linux sound/soc/codecs/wm8960.c; respeaker/seeed-voicecard wm8960_asound.state.
WM8960 = (
    Control("Capture Volume", 63, 2),
    Control("Capture Switch", 1, 2),
    Control("Left Input Boost Mixer LINPUT1 Volume", 3),
    Control("Right Input Boost Mixer RINPUT1 Volume", 3),
    Control("Left Input Boost Mixer LINPUT2 Volume", 7),
    Control("Playback Volume", 255, 2),
    Control("Headphone Playback Volume", 127, 2),
    Control("Headphone Playback ZC Switch", 1, 2),
    Control("Speaker Playback Volume", 127, 2),
    Control("Speaker Playback ZC Switch", 1, 2),
    Control("PCM Playback -6dB Switch"),
    Control("ADC PCM Capture Volume", 255, 2),
    Control("Left Boost Mixer LINPUT1 Switch"),
    Control("Right Boost Mixer RINPUT1 Switch"),
    Control("Left Input Mixer Boost Switch"),
    Control("Right Input Mixer Boost Switch"),
    Control("Left Output Mixer PCM Playback Switch"),
    Control("Right Output Mixer PCM Playback Switch"),
    Control("Left Output Mixer Boost Bypass Switch"),
)

# torvalds/linux sound/soc/codecs/tlv320aic3x.c.
AIC3X = (
    Control("PCM Playback Volume", 127, 2),
    Control("Line DAC Playback Volume", 118, 2),
    Control("HP DAC Playback Volume", 118, 2),
    Control("HPCOM DAC Playback Volume", 118, 2),
    Control("Line Playback Switch", 1, 2),
    Control("HP Playback Switch", 1, 2),
    Control("HPCOM Playback Switch", 1, 2),
    Control("AGC Switch", 1, 2),
    Control("PGA Capture Volume", 119, 2),
    Control("PGA Capture Switch", 1, 2),
)

# respeaker/seeed-voicecard ac108_asound.state.
AC108 = tuple(
    control
    for number in range(1, 5)
    for control in (Control(f"CH{number} digital volume", 255), Control(f"ADC{number} PGA gain", 31))
)

# raspberrypi/Pi-Codec Codec_Zero_OnboardMIC_record_and_SPK_playback.state; of the choices only those that stand there.
DA7212 = (
    Control("Mic 1 Volume", 7),
    Control("Mic 1 Switch"),
    Control("Mic 2 Volume", 7),
    Control("Mic 2 Switch"),
    Control("Mic 2 Amp Source MUX", items=("(another)", "Differential")),
    Control("Mixin PGA Volume", 15, 2),
    Control("Mixin PGA Switch", 1, 2),
    Control("ADC Volume", 127, 2),
    Control("ADC Switch", 1, 2),
    Control("DAC Volume", 127, 2),
    Control("DAC Mono Switch", 1, 2),
    Control("Headphone Volume", 63, 2),
    Control("Headphone Switch", 1, 2),
    Control("Lineout Volume", 63),
    Control("Lineout Switch"),
    Control("Onboard MIC Switch"),
    Control("Mixin Left Mic 2 Switch"),
    Control("Mixin Right Mic 2 Switch"),
    Control("Mixout Left DAC Left Switch"),
    Control("Mixout Right DAC Right Switch"),
    Control("DAI Left Source MUX", items=("DAI Input Left", "ADC Left", "ADC Right")),
    Control("DAI Right Source MUX", items=("DAI Input Left", "ADC Left", "ADC Right")),
    Control("DAC Left Source MUX", items=("ADC Left", "DAI Input Left", "DAI Input Right")),
    Control("DAC Right Source MUX", items=("ADC Left", "DAI Input Left", "DAI Input Right")),
)

# google/aiyprojects-raspbian drivers/sound/rt5645.c (ranges), drivers/sound/debian/ucm/HiFi.conf (names).
RT5645 = (
    Control("DAC1 Playback Volume", 87, 2),
    Control("Headphone Playback Volume", 39, 2),
    Control("Headphone Channel Switch", 1, 2),
    Control("Headphone Switch"),
    Control("Speaker Playback Volume", 39, 2),
    Control("Speaker Channel Switch", 1, 2),
    Control("Speaker Switch"),
    Control("ADC Capture Volume", 63, 2),
    Control("ADC Boost Capture Volume", 3, 2),
    Control("Int Mic Switch"),
    *(
        Control(f"{route} Switch")
        for route in (
            "DAC1 MIXL DAC1",
            "DAC1 MIXR DAC1",
            "Stereo DAC MIXL DAC L1",
            "Stereo DAC MIXR DAC R1",
            "SPK MIXL DAC L1",
            "SPK MIXR DAC R1",
            "SPKVOL L",
            "SPKVOL R",
            "SPOL MIX SPKVOL L",
            "SPOR MIX SPKVOL R",
            "RECMIXL BST1",
            "RECMIXR BST2",
            "Sto1 ADC MIXL ADC1",
            "Sto1 ADC MIXR ADC1",
        )
    ),
)
