"""The numbers printed in the paper (Liu, Yang, Liu, "W-Net", 2024), Tables 1 to 3. Shown only in rows marked as the paper's.

They were measured on the authors' crops of CelebA and Helen, with a protocol they do not state in full; see the notes of
:data:`CAVEAT`.
"""

from __future__ import annotations

CAVEAT = (
    "Rows marked 'paper' are printed in the W-Net paper: other crops, other training sets (mode I: 168,854, mode II: 18,000 "
    "CelebA photos) and a protocol that is not stated in full. They are not comparable with the measured rows, and mode I not "
    "with mode II. "
    "The paper's bicubic SSIM on CelebA x8 (0.6776) agrees with no known convention, and its LPIPS backbone is not stated."
)

#: Set and scale of each triple in TABLE_1.
TABLE_1_PLACES = (("CelebA", 4), ("CelebA", 8), ("Helen", 4), ("Helen", 8))

# (network, mode): PSNR, SSIM, LPIPS for each place
TABLE_1 = {
    ("Bicubic", ""): ((27.38, .8002, .1857), (23.46, .6776, .2699), (28.12, .8423, .1771), (23.80, .6396, .2560)),
    ("SRCNN", "I"): ((28.01, .8332, .1489), (24.01, .6747, .2559), (28.69, .8715, .0558), (24.31, .6780, .2471)),
    ("EDSR", "I"): ((31.50, .9001, .0513), (26.99, .7790, .1144), (31.85, .9128, .0579), (26.57, .7843, .1442)),
    ("FSRNet", "I"): ((31.37, .9012, .0501), (26.86, .7714, .1098), (31.97, .9188, .0553), (26.49, .7802, .1382)),
    ("DIC", "I"): ((31.58, .9015, .0532), (27.35, .8019, .0902), (32.01, .9223, .0587), (26.98, .8015, .1158)),
    ("MRRNet", "I"): ((30.20, .8687, .0278), (26.09, .7430, .0592), (31.10, .9013, .0328), (26.54, .7810, .0619)),
    ("W-Net", "I"): ((31.77, .9032, .0482), (27.54, .8041, .0908), (32.32, .9251, .0491), (27.26, .8121, .1046)),
    ("SRGAN", "II"): ((31.05, .8880, .0459), (26.63, .7628, .1043), (31.01, .9002, .0499), (25.83, .7491, .1109)),
    ("SPARNet", "II"): ((31.52, .9005, .0593), (27.29, .7965, .1088), (31.72, .9171, .0682), (26.95, .8029, .1169)),
    ("SISN", "II"): ((31.55, .9010, .0587), (26.83, .7786, .1044), (31.73, .9163, .0708), (26.07, .7680, .1305)),
    ("WIPA", "II"): ((30.35, .8711, .0619), (26.23, .7652, .0961), (30.47, .8923, .0738), (26.75, .7514, .1202)),
    ("MRRNet", "II"): ((30.48, .8720, .0374), (25.94, .7417, .0562), (30.80, .8951, .0456), (26.20, .7731, .0661)),
    ("UFSRNet", "II"): ((31.42, .8987, .0643), (27.10, .7887, .0791), (31.64, .9159, .0704), (26.99, .8031, .1218)),
    ("W-Net", "II"): ((31.63, .9029, .0425), (27.40, .8014, .0760), (31.83, .9181, .0483), (27.05, .8058, .1028)),
}  # fmt: skip

TABLE_2_NETWORKS = ("Bicubic", "SPARNet", "SRGAN", "MRRNet", "UFSRNet", "W-Net")
# (set, scale): mean Euclidean distance of 68 OpenFace points in pixels, mean cosine of AdaFace; mode II
TABLE_2 = {
    ("CelebA", 4): ((11.06, 7.58, 7.65, 7.72, 7.59, 6.98), (.7339, .8413, .8306, .8267, .8371, .8697)),
    ("CelebA", 8): ((22.23, 11.12, 11.72, 12.15, 11.96, 10.17), (.3680, .5744, .5465, .5795, .5530, .5861)),
    ("Helen", 4): ((11.74, 9.07, 9.00, 9.22, 9.08, 8.95), (.7767, .8612, .8516, .8660, .8683, .8690)),
    ("Helen", 8): ((24.15, 13.91, 16.43, 14.30, 13.34, 13.28), (.3858, .6483, .5584, .6810, .6360, .6545)),
}  # fmt: skip

# experiment: parsing block, LPF, SCAB; PSNR, SSIM on CelebA x4, mode II
TABLE_3 = {
    "A": ((False, False, False), (28.69, .8358)),
    "B": ((True, False, False), (28.98, .8438)),
    "C": ((False, True, False), (31.01, .8903)),
    "D": ((False, False, True), (31.10, .8956)),
    "E": ((True, False, True), (31.21, .8965)),
    "F": ((False, True, True), (31.36, .8977)),
    "G": ((True, True, False), (31.37, .8973)),
    "H": ((True, True, True), (31.63, .9029)),
}  # fmt: skip
