"""What a scan of each miniature tree must find: class, split, method and pair of every video."""

import trees

# Of every video of a tree: its path below the set's folder, then class (r, f), split (- none), method and pair.
EXPECTED = {
    "FaceShifter": """
        original_sequences/youtube/c23/054                 r train -  -
        original_sequences/youtube/c23/071                 r train -  -
        original_sequences/youtube/c23/688                 r val   -  -
        original_sequences/youtube/c23/719                 r val   -  -
        original_sequences/youtube/c23/953                 r test  -  -
        original_sequences/youtube/c23/974                 r test  -  -
        manipulated_sequences/FaceShifter/c23/054_071      f train FaceShifter original_sequences/youtube/c23/054
        manipulated_sequences/FaceShifter/c23/071_054      f train FaceShifter original_sequences/youtube/c23/071
        manipulated_sequences/FaceShifter/c23/688_719      f val   FaceShifter original_sequences/youtube/c23/688
        manipulated_sequences/FaceShifter/c23/719_688      f val   FaceShifter original_sequences/youtube/c23/719
        manipulated_sequences/FaceShifter/c23/953_974      f test  FaceShifter original_sequences/youtube/c23/953
        manipulated_sequences/FaceShifter/c23/974_953      f test  FaceShifter original_sequences/youtube/c23/974
    """,
    "DeepFakeDetection": """
        original_sequences/actors/c23/01__exit_phone_room  r test - -
        original_sequences/actors/c23/02__hugging_happy    r test - -
        original_sequences/actors/c23/27__kitchen_pan      r test - -
        manipulated_sequences/DeepFakeDetection/c23/01_02__exit_phone_room__YVGY8LOK f test - \
            original_sequences/actors/c23/01__exit_phone_room
        manipulated_sequences/DeepFakeDetection/c23/02_01__hugging_happy__YVGY8LOK f test - \
            original_sequences/actors/c23/02__hugging_happy
        manipulated_sequences/DeepFakeDetection/c23/02_06__kitchen_pan__0GEZ9N2P     f test - -
    """,
    "Celeb-DF-v2": """
        Celeb-real/id0_0000            r train - -
        Celeb-real/id0_0001            r train - -
        Celeb-real/id1_0007            r test  - -
        YouTube-real/00000             r train - -
        YouTube-real/00170             r test  - -
        Celeb-synthesis/id0_id1_0000   f train - Celeb-real/id0_0000
        Celeb-synthesis/id1_id0_0007   f test  - Celeb-real/id1_0007
        Celeb-synthesis/id1_id2_0003   f train - -
    """,
    "DFDCP": """
        original_videos/643049/643049_A_001            r test  - -
        original_videos/1224068/1224068_C_000          r train - -
        method_A/643049/643049_A/1033013_643049_A_001  f test  method_A original_videos/643049/643049_A_001
        method_B/643049/643049_A/1033013_643049_A_001  f test  method_B original_videos/643049/643049_A_001
        method_B/1224068/1224068_C/98_1224068_C_000    f train method_B original_videos/1224068/1224068_C_000
    """,
    "DeeperForensics-1.0": """
        source_videos/M101/light_up/sad/camera_left/M101_light_up_sad_camera_left  r train - -
        source_videos/W010/light_up/sad/camera_left/W010_light_up_sad_camera_left  r val   - -
        source_videos/M004/light_up/sad/camera_left/M004_light_up_sad_camera_left  r test  - -
        source_videos/M004/BlendShape/camera_front/M004_BlendShape_camera_front    r test  - -
        manipulated_videos/end_to_end/000_M101  f train - -
        manipulated_videos/end_to_end/001_W010  f val   - -
        manipulated_videos/end_to_end/002_M004  f test  - -
        manipulated_videos/end_to_end/003_M004  f test  - -
    """,
    "WildDeepfake": """
        real_train/1/real/54   r train - -
        real_test/3/real/54    r test  - -
        real_test/3/real/55    r test  - -
        fake_train/1/fake/7    f train - -
        fake_test/85/fake/102  f test  - -
    """,
    "DF40": """
        /FaceForensics++/original_sequences/youtube/c23/071  r train - -
        /FaceForensics++/original_sequences/youtube/c23/719  r -     - -
        /FaceForensics++/original_sequences/youtube/c23/953  r test  - -
        /Celeb-DF-v2/Celeb-real/id1_0007     r test - -
        /Celeb-DF-v2/Celeb-real/id0_0000     r -    - -
        /Celeb-DF-v2/YouTube-real/00170      r test - -
        /DF40_train/simswap/071_054          f train simswap /FaceForensics++/original_sequences/youtube/c23/071
        /DF40_train/fomm/071                 f train fomm    -
        simswap/ff/953_974                   f test  simswap /FaceForensics++/original_sequences/youtube/c23/953
        UniFace/ff/953_974                   f test  UniFace /FaceForensics++/original_sequences/youtube/c23/953
        MRAA/ff/953                          f test  MRAA    -
        simswap/cdf/id1_id0_0007             f test  simswap /Celeb-DF-v2/Celeb-real/id1_0007
        danet/cdf/id1_0007                   f test  danet   /Celeb-DF-v2/Celeb-real/id1_0007
    """,
    "Deepfake-Eval-2024": """
        video-data/-aB_1  f test  - -
        video-data/cD-2   r test  - -
        video-data/_eF3   f train - -
        video-data/gH4    r train - -
    """,
    "KoDF-adversarial": """
        /KoDF-adversarial-real/19095_071  r test - -
        /KoDF-adversarial-fake/a/1        f test - -
        /KoDF-adversarial-fake/b/1        f test - -
    """,
    "Celeb-DF++": """
        Celeb-real/id0_0001            r test  - -
        Celeb-real/id57_0003           r train - -
        YouTube-real/00011             r test  - -
        Celeb-synthesis/FaceSwap/Celeb-DF/id0_id16_0001   f train Celeb-DF-v2 Celeb-real/id0_0001
        Celeb-synthesis/FaceSwap/BlendFace/id0_id16_0001  f train BlendFace   Celeb-real/id0_0001
        Celeb-synthesis/FaceReenact/DaGAN/id0_id16_0001   f test  DaGAN       Celeb-real/id0_0001
        Celeb-synthesis/TalkingFace/FLOAT/id57_0003_test_id04006___a_fDWly5s f test FLOAT \
            Celeb-real/id57_0003
        Celeb-synthesis/TalkingFace/Real3DPortrait/id57_0003_test_id04006___a_fDWly5s f train Real3DPortrait \
            Celeb-real/id57_0003
    """,
    "UADFV": """
        real/0000       r test - -
        real/0048       r test - -
        fake/0000_fake  f test - real/0000
        fake/0048_fake  f test - real/0048
    """,
    "DFDC": """
        train/dfdc_train_part_0/aaaaaaaaaa  f train - train/dfdc_train_part_0/bbbbbbbbbb
        train/dfdc_train_part_0/bbbbbbbbbb  r train - -
        train/dfdc_train_part_1/dddddddddd  f train - train/dfdc_train_part_0/bbbbbbbbbb
        test/eeeeeeeeee                     f test  - -
        test/ffffffffff                     r test  - -
    """,
    "DFDM": """
        /Celeb-DF-v2/Celeb-real/id0_0000                r test - -
        /Celeb-DF-v2/Celeb-real/id28_0008               r test - -
        DFDM_crf23/a/id28_id20_0008_4dfaker             f test dfaker      /Celeb-DF-v2/Celeb-real/id28_0008
        DFDM_crf23/b/id28_id20_0008_DFL-H128            f test dfl         /Celeb-DF-v2/Celeb-real/id28_0008
        DFDM_crf23/c/id28_id20_0008_iae                 f test iae         /Celeb-DF-v2/Celeb-real/id28_0008
        DFDM_crf23/d/id28_id20_0008_Lightweight         f test lightweight /Celeb-DF-v2/Celeb-real/id28_0008
        DFDM_crf23/e/id28_id20_0008_1faceswap           f -    faceswap    /Celeb-DF-v2/Celeb-real/id28_0008
    """,
    "FFIW": """
        source/train/train_00006238  r train - -
        source/train/train_00006239  r train - -
        source/val/val_00000000      r val   - -
        target/train/train_00006238  f train - source/train/train_00006238
        target/train/train_00006239  f train - source/train/train_00006239
        target/val/val_00000000      f val   - source/val/val_00000000
        /FFIW10K-v1-release-test/source/test/test_00000000  r test - -
        /FFIW10K-v1-release-test/source/test/test_00000249  r test - -
        /FFIW10K-v1-release-test/target/test/test_00000000  f test - /FFIW10K-v1-release-test/source/test/test_00000000
        /FFIW10K-v1-release-test/target/test/test_00000249  f test - /FFIW10K-v1-release-test/source/test/test_00000249
    """,
    "DeepSpeak-v1.1": """
        a/87-1  r test  - -
        a/88-2  r train - -
        a/89-3  r train - -
        a/90-4  r test  - -
        b/wav2lip--88-89--2-3--1          f train wav2lip         a/88-2
        b/facefusion_live--87-90--1-4--0  f test  facefusion_live -
    """,
    "DeepSpeak-v2.0": """
        deepspeak-v2-0/87-11  r test  - -
        deepspeak-v2-0/88-12  r train - -
        deepspeak-v2-0/89-13  r train - -
        deepspeak-v2-0/90-14  r test  - -
        deepspeak-v2-1/facefusion-12-13         f train facefusion deepspeak-v2-0/89-13
        deepspeak-v2-1/latentsync-11-14-playht  f test  latentsync deepspeak-v2-0/90-14
        deepspeak-v2-1/memo-13-12-real          f train memo       -
    """,
    "KoDF": """
        1.Training/[원천][원본]원본1/0123456789abcdef0123/0123456789abcdef0123_001  r train - -
        1.Training/[원천][원본]원본1/0123456789abcdef0123/0123456789abcdef0123_002  r train - -
        1.Training/[원천][원본]원본1/19095/19095_071                                r test  - -
        1.Training/[원천][변조]train_dfl1_data/dfl/0123456789abcdef0123/0123456789abcdef0123_171224_1_0000 f train dfl \
            1.Training/[원천][원본]원본1/0123456789abcdef0123/0123456789abcdef0123_002
        vaild_dffs/16600_171224_2_0390  f test dffs         -
        audio/16600_16600_5_0391        f test audio-driven -
    """,
    "FakeAVCeleb": """
        RealVideo-RealAudio/African/men/id00076/00109                        r test - -
        RealVideo-FakeAudio/African/men/id00076/00109_fake                   r -    - -
        FakeVideo-RealAudio/African/men/id00076/00109_id00166_wavtolip f test wav2lip \
            RealVideo-RealAudio/African/men/id00076/00109
        FakeVideo-RealAudio/African/men/id00076/00109_id00173_UHoMXLSjlDo f test fsgan \
            RealVideo-RealAudio/African/men/id00076/00109
        FakeVideo-RealAudio/African/men/id00076/00109_1 f test faceswap \
            RealVideo-RealAudio/African/men/id00076/00109
        FakeVideo-FakeAudio/African/men/id00076/00109_10_id00476_wavtolip f test faceswap-wav2lip \
            RealVideo-RealAudio/African/men/id00076/00109
        FakeVideo-FakeAudio/African/men/id00076/00109_id00476_wavtolip f test faceswap-wav2lip \
            RealVideo-RealAudio/African/men/id00076/00109
        RealVideo-RealAudio/Asian␣(East)/women/id01234/1                     r test - -
        FakeVideo-FakeAudio/Asian␣(East)/women/id01234/1_id00173_U_o-MXLS_id00166_wavtolip f test fsgan-wav2lip \
            RealVideo-RealAudio/Asian␣(East)/women/id01234/1
    """,
    "PolyGlotFake": """
        real/ru/ru_61                                 r test - -
        real/en/en_31                                 r test - -
        fake/to_en/ru_61_to_en_MicroTts               f test video_retalking real/ru/ru_61
        fake/to_ar/en_31_to_ar_Xtts                   f test Wav2Lip         real/en/en_31
        fake/to_ar/ru_61_to_ar_TTS=MicroTts_LS=Wav2Lip f test Wav2Lip        real/ru/ru_61
    """,
    "IDForge-v1": """
        main/pristine/id00/id00_03/id00_scene_0010-0                          r val  - -
        main/pristine/id01/id01_00/id01_00-0                                  r test - -
        main/face_tts/id00/id00_00/id00_scene_0015_0_infoswap                 f val  face_tts_infoswap -
        main/face_tts/id00/id00_01/id00_scene_0015_0_infoswap                 f val  face_tts_infoswap -
        main/face_tts/id01/id01_00/id01_scene_0001_1_roop                     f test face_tts_roop     -
        main/face_tts_textgen/id00/id00_00/id00_scene_0015_0_infoswap         f -    face_tts_textgen_infoswap -
        main/lip_rvc_textmismatch/id00/id00_03/id00_scene_0010-0.mp3          f -    lip_rvc_textmismatch -
        main/tts_textgen/id00/id00_03/id00_scene_0010-0                       r -    - -
    """,
}  # fmt: skip
EXPECTED["Celeb-DF-v1"] = EXPECTED["Celeb-DF-v2"]
FOLDERS = {
    "FaceShifter": "FaceForensics++", "DeepFakeDetection": "FaceForensics++", "Celeb-DF++": "Celeb-DF-v3",
    "FFIW": "FFIW10K-v1-release", "FakeAVCeleb": "FakeAVCeleb_v1.2", "IDForge-v1": "IDForge_v1",
}  # fmt: skip
SINGLE = sorted(EXPECTED)
PARTS = ("Celeb-DF-v2", "DeepSpeak-v1.1", "DeepSpeak-v2.0", "FFIW")  # of the validation set


def expected(name):
    rows = {}
    for line in EXPECTED[name].strip().splitlines():
        path, kind, split, method, pair = (None if word == "-" else word.replace("␣", " ") for word in line.split())
        rows[below(name, path)] = (kind == "f", (split,) if split else (), method, below(name, pair))
    return rows


def below(name, path):
    if path is None:
        return None
    return path[1:] if path.startswith("/") else f"{FOLDERS.get(name, name)}/{path}"


def facts(items):
    return {item.path: (item.fake, item.splits, item.method, item.pair) for item in items}


def cut(tree, *names):
    """A tree without the files whose path holds one of the names."""
    keep = {path: text for path, text in tree.files.items() if not any(name in path for name in names)}
    return trees.Tree(tree.videos, tree.masks, keep)
