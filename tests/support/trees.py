"""Miniature trees of the datasets as their sources lay them out: raw videos, or faces where preprocessing puts them."""

import io
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

FRAMES = (0, 4, 1000)  # indices of a video's faces; the last one sorts before the second as text


@dataclass
class Tree:
    """Videos by path with suffix, mask videos, and the text of the lists."""

    videos: list[str]
    masks: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)


def build_videos(root: Path, tree: Tree, *, nested=False) -> Path:
    """Write empty video files and the lists; ``nested`` puts a ``videos`` level above files that have none."""
    for path in (*tree.videos, *tree.masks):
        path = PurePosixPath(path)
        if nested and path.parent.name != "videos":
            path = path.parent / "videos" / path.name
        write(root / path, b"")
    return build_lists(root, tree)


def build_faces(root: Path, tree: Tree, *, lists=True, frames=FRAMES) -> Path:
    """Write face images where preprocessing puts them, masks beside the faces of forged videos, and the lists."""
    masked = {PurePosixPath(path).stem.removesuffix("_mask") for path in tree.masks}
    for path in map(PurePosixPath, tree.videos):
        folder = path.parent.parent if path.parent.name == "videos" else path.parent
        for index in frames:
            write(root / folder / "frames" / path.stem / f"{index:03d}.png", png())
            write(root / folder / "landmarks" / path.stem / f"{index:03d}.npy", b"")
            if path.stem in masked and not {"original_sequences", "source"} & set(folder.parts):
                write(root / folder / "masks" / path.stem / f"{index:03d}.png", png(255))
    return build_lists(root, tree) if lists else root


def build_lists(root: Path, tree: Tree) -> Path:
    """Write the lists alone."""
    for path, text in tree.files.items():
        write(root / path, text.encode("utf-8"))
    return root


def write(path: Path, data: bytes):
    """Write a file, and its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@lru_cache
def png(value: int = 128) -> bytes:
    """A small image."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


FF_SPLITS = {"train": [["071", "054"]], "val": [["719", "688"]], "test": [["953", "974"]]}
FF_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")


def faceforensics(levels=("c23", "c40"), methods=FF_METHODS) -> Tree:
    """FaceForensics++: a pair of videos in each split, in both directions by each method; masks once for all levels."""
    pairs = [(a, b) for split in FF_SPLITS.values() for pair in split for a, b in (pair, pair[::-1])]
    root = "FaceForensics++"
    tree = Tree([], files={f"{root}/{split}.json": json.dumps(pairs) for split, pairs in FF_SPLITS.items()})
    for level in levels:
        tree.videos += [f"{root}/original_sequences/youtube/{level}/videos/{a}.mp4" for a, _ in pairs]
        for method in methods:
            folder = f"{root}/manipulated_sequences/{method}/{level}/videos"
            tree.videos += [f"{folder}/{a}_{b}.mp4" for a, b in pairs]
    for method in set(methods) - {"FaceShifter"}:
        tree.masks += [f"{root}/manipulated_sequences/{method}/masks/videos/{a}_{b}.mp4" for a, b in pairs]
    return tree


def deepfakedetection(levels=("c23",)) -> Tree:
    """DeepFakeDetection, below FaceForensics++: three originals, three fakes of which one has no original."""
    root, names = "FaceForensics++", ("01__exit_phone_room", "02__hugging_happy", "27__kitchen_pan")
    fakes = ("01_02__exit_phone_room__YVGY8LOK", "02_01__hugging_happy__YVGY8LOK", "02_06__kitchen_pan__0GEZ9N2P")
    tree = Tree([])
    for level in levels:
        tree.videos += [f"{root}/original_sequences/actors/{level}/videos/{name}.mp4" for name in names]
        folder = f"{root}/manipulated_sequences/DeepFakeDetection/{level}/videos"
        tree.videos += [f"{folder}/{name}.mp4" for name in fakes]
    tree.masks = [f"{root}/manipulated_sequences/DeepFakeDetection/masks/videos/{name}.mp4" for name in fakes[:2]]
    return tree


def faceforensics_family() -> Tree:
    """All that lies in the folder FaceForensics++: its own methods, FaceShifter and DeepFakeDetection, at c23."""
    tree, other = faceforensics(("c23",), (*FF_METHODS, "FaceShifter")), deepfakedetection()
    return Tree(tree.videos + other.videos, tree.masks + other.masks, tree.files)


CELEB = Tree(
    videos=[
        *(f"Celeb-DF-v2/Celeb-real/{name}.mp4" for name in ("id0_0000", "id0_0001", "id1_0007")),
        *(f"Celeb-DF-v2/YouTube-real/{name}.mp4" for name in ("00000", "00170")),
        *(f"Celeb-DF-v2/Celeb-synthesis/{name}.mp4" for name in ("id0_id1_0000", "id1_id0_0007", "id1_id2_0003")),
    ],
    files={
        "Celeb-DF-v2/List_of_testing_videos.txt": "1 YouTube-real/00170.mp4\n1 Celeb-real/id1_0007.mp4\n"
        "0 Celeb-synthesis/id1_id0_0007.mp4"
    },
)

CELEB_V1 = Tree(
    [path.replace("DF-v2", "DF-v1") for path in CELEB.videos],
    files={path.replace("DF-v2", "DF-v1"): text for path, text in CELEB.files.items()},
)

CELEB_PP = Tree(
    videos=[
        "Celeb-DF-v3/Celeb-real/id0_0001.mp4",
        "Celeb-DF-v3/Celeb-real/id57_0003.mp4",
        "Celeb-DF-v3/YouTube-real/00011.mp4",
        "Celeb-DF-v3/Celeb-synthesis/FaceSwap/Celeb-DF/id0_id16_0001.mp4",
        "Celeb-DF-v3/Celeb-synthesis/FaceSwap/BlendFace/id0_id16_0001.mp4",
        "Celeb-DF-v3/Celeb-synthesis/FaceReenact/DaGAN/id0_id16_0001.mp4",
        "Celeb-DF-v3/Celeb-synthesis/TalkingFace/FLOAT/id57_0003_test_id04006___a_fDWly5s.mp4",
        "Celeb-DF-v3/Celeb-synthesis/TalkingFace/Real3DPortrait/id57_0003_test_id04006___a_fDWly5s.mp4",
    ],
    files={
        "Celeb-DF-v3/List_of_testing_videos.txt": "1 Celeb-real/id0_0001.mp4\n1 YouTube-real/00011.mp4\n"
        "0 Celeb-synthesis/FaceReenact/DaGAN/id0_id16_0001.mp4\n"
        "0 Celeb-synthesis/TalkingFace/FLOAT/id57_0003_test_id04006___a_fDWly5s.mp4\n"
    },
)

UADFV = Tree([f"UADFV/{name}.mp4" for name in ("real/0000", "real/0048", "fake/0000_fake", "fake/0048_fake")])

DFDC = Tree(
    videos=[
        "DFDC/train/dfdc_train_part_0/aaaaaaaaaa.mp4",
        "DFDC/train/dfdc_train_part_0/bbbbbbbbbb.mp4",
        "DFDC/train/dfdc_train_part_1/dddddddddd.mp4",
        "DFDC/test/videos/eeeeeeeeee.mp4",
        "DFDC/test/videos/ffffffffff.mp4",
    ],
    files={
        "DFDC/train/dfdc_train_part_0/metadata.json": json.dumps({
            "aaaaaaaaaa.mp4": {"label": "FAKE", "split": "train", "original": "bbbbbbbbbb.mp4"},
            "bbbbbbbbbb.mp4": {"label": "REAL", "split": "train"},
        }),
        "DFDC/train/dfdc_train_part_1/metadata.json": json.dumps({
            "dddddddddd.mp4": {"label": "FAKE", "split": "train", "original": "bbbbbbbbbb.mp4"},
        }),
        "DFDC/test/labels.csv": "filename,label\neeeeeeeeee.mp4,1\nffffffffff.mp4,0\n",
    },
)  # fmt: skip

DFDCP_SETS = {
    "original_videos/643049/643049_A_001": "test",
    "original_videos/1224068/1224068_C_000": "train",
    "method_A/643049/643049_A/1033013_643049_A_001": "test",
    "method_B/643049/643049_A/1033013_643049_A_001": "test",
    "method_B/1224068/1224068_C/98_1224068_C_000": "train",
}
DFDCP = Tree(
    videos=[f"DFDCP/{path}.mp4" for path in DFDCP_SETS],
    files={
        "DFDCP/dataset.json": json.dumps({
            f"{path}.mp4": {"label": "real" if "original" in path else "fake", "set": split, "augmentations": []}
            for path, split in DFDCP_SETS.items()
        })
    },
)  # fmt: skip

DEEPER = "DeeperForensics-1.0"
DEEPER_SPLITS = {"train": "000_M101\n", "val": "001_W010.mp4\n", "test": "002_M004.mp4\n003_M004.mp4\n"}
DEEPERFORENSICS = Tree(
    videos=[
        *(f"{DEEPER}/source_videos/{actor}/light_up/sad/camera_left/{actor}_light_up_sad_camera_left.mp4"
          for actor in ("M101", "W010", "M004")),
        f"{DEEPER}/source_videos/M004/BlendShape/camera_front/M004_BlendShape_camera_front.mp4",
        f"{DEEPER}/source_videos/M004/BlendShape_extra/M004_BlendShape_extra_light_up_camera_left.mp4",
        *(f"{DEEPER}/manipulated_videos/{variant}/{name}.mp4"
          for variant in ("end_to_end", "end_to_end_level_2", "end_to_end_mix_4_distortions", "reenact_postprocess")
          for name in ("000_M101", "001_W010", "002_M004", "003_M004")),
    ],
    files={f"{DEEPER}/lists/splits/{split}.txt": text for split, text in DEEPER_SPLITS.items()},
)  # fmt: skip

WILDDEEPFAKE = Tree([  # in the release the sequences are folders of faces; a video stands for one here
    f"WildDeepfake/{path}.mp4"
    for path in ("real_train/1/real/54", "real_test/3/real/54", "real_test/3/real/55", "fake_train/1/fake/7",
                 "fake_test/85/fake/102")
])  # fmt: skip

DF40 = Tree(  # in the release the fakes are folders of faces; a video stands for one here
    videos=[
        *(f"FaceForensics++/original_sequences/youtube/c23/videos/{name}.mp4" for name in ("071", "719", "953")),
        "Celeb-DF-v2/Celeb-real/id1_0007.mp4",
        "Celeb-DF-v2/Celeb-real/id0_0000.mp4",
        "Celeb-DF-v2/YouTube-real/00170.mp4",
        "DF40_train/simswap/071_054.mp4",
        "DF40_train/fomm/071.mp4",
        "DF40/simswap/ff/953_974.mp4",
        "DF40/UniFace/ff/953_974.mp4",
        "DF40/MRAA/ff/953.mp4",
        "DF40/simswap/cdf/id1_id0_0007.mp4",
        "DF40/danet/cdf/id1_0007.mp4",
    ],
    files={**{f"FaceForensics++/{split}.json": json.dumps(pairs) for split, pairs in FF_SPLITS.items()}, **CELEB.files},
)

DEEPFAKE_EVAL = Tree(
    videos=[f"Deepfake-Eval-2024/video-data/{name}.mp4" for name in ("-aB_1", "cD-2", "_eF3", "gH4")],
    files={
        "Deepfake-Eval-2024/video-metadata-publish-with-links.csv":
            "Filename,Date,Video Ground Truth,Audio Ground Truth,Public Comments,Finetuning Set\n"
            "-aB_1.mp4,2024-11-14,Fake,Unknown,\"lip sync, off\",test\n"
            "cD-2.mp4,2024-11-13,Real,Fake,,test\n_eF3.mp4,2024-11-13,Fake,Fake,,train\n"
            "gH4.mp4,2024-11-12,Real,Real,,train\n"
    },
)  # fmt: skip

KODF_ADVERSARIAL = Tree(
    ["KoDF-adversarial-real/19095_071.mp4", "KoDF-adversarial-fake/a/1.mp4", "KoDF-adversarial-fake/b/1.mp4"]
)

DFDM = Tree(
    videos=[
        "Celeb-DF-v2/Celeb-real/id28_0008.mp4",
        "Celeb-DF-v2/Celeb-real/id0_0000.mp4",
        *(
            f"DFDM/DFDM_{level}/{folder}/id28_id20_0008_{tag}.mp4"
            for level in ("crf10", "crf23")
            for folder, tag in (
                ("a", "4dfaker"),
                ("b", "DFL-H128"),
                ("c", "iae"),
                ("d", "Lightweight"),
                ("e", "1faceswap"),
            )
        ),
    ]
)

FFIW = Tree(
    videos=[
        f"FFIW10K-v1-release{'-test' * (split == 'test')}/{kind}/{split}/{split}_{number:08d}.mp4"
        for split, numbers in {"train": (6238, 6239), "val": (0,), "test": (0, 249)}.items()
        for kind in ("source", "target")
        for number in numbers
    ],
    masks=[
        "FFIW10K-v1-release/target_mask/train/train_00006238_mask.mp4",
        "FFIW10K-v1-release/target_mask/val/val_00000000_mask.mp4",
        "FFIW10K-v1-release-test/target_mask/test/test_00000000_mask.mp4",
    ],
)

DEEPSPEAK_SPLIT = ",identity,split\n0,87,test\n1,88,train\n2,89,train\n3,90,test\n"
DEEPSPEAK_V1 = Tree(
    videos=[
        *(f"DeepSpeak-v1.1/a/{name}.mp4" for name in ("87-1", "88-2", "89-3", "90-4")),
        "DeepSpeak-v1.1/b/wav2lip--88-89--2-3--1.mp4",
        "DeepSpeak-v1.1/b/facefusion_live--87-90--1-4--0.mp4",
    ],
    files={
        "DeepSpeak-v1.1/annotations-fake.csv": ",video-file,kind,engine,identity-source,identity-target,"
        "recording-source,recording-target,gesture-type,script-type,recording-target-ai-generated\n"
        "0,wav2lip--88-89--2-3--1.mp4,lip-sync,wav2lip,88,89,2,3,,scripted,True\n"
        "1,facefusion_live--87-90--1-4--0.mp4,face-swap,facefusion_live,87,90,1,4,wave,,False\n",
        "DeepSpeak-v1.1/annotations-real.csv": "identity,video-file\n"
        "87,87-1.mp4\n88,88-2.mp4\n89,89-3.mp4\n90,90-4.mp4\n",
        "DeepSpeak-v1.1/annotations-split-def.csv": DEEPSPEAK_SPLIT,
    },
)
DEEPSPEAK_V2 = Tree(
    videos=[
        *(f"DeepSpeak-v2.0/deepspeak-v2-0/{name}.mp4" for name in ("87-11", "88-12", "89-13", "90-14")),
        *(
            f"DeepSpeak-v2.0/deepspeak-v2-1/{name}.mp4"
            for name in ("facefusion-12-13", "latentsync-11-14-playht", "memo-13-12-real")
        ),
    ],
    files={
        "DeepSpeak-v2.0/annotations-fake.csv": "video-file,kind,engine,identity-source,identity-target,"
        "recording-source,recording-target,gesture-type,script-type,audio-config,gen-config\n"
        "facefusion-12-13.mp4,face-swap,facefusion,88,89,12,13,wave,,,inswapper\n"
        "latentsync-11-14-playht.mp4,lip-sync,latentsync,87,90,11,14,,scripted,playht,\n"
        "memo-13-12-real.mp4,avatar,memo,89,88,13,12,,scripted,real,\n",
        "DeepSpeak-v2.0/annotations-real.csv": "identity,video-file\n"
        "87,87-11.mp4\n88,88-12.mp4\n89,89-13.mp4\n90,90-14.mp4\n",
        "DeepSpeak-v2.0/annotations-split-def.csv": DEEPSPEAK_SPLIT,
    },
)

ACTOR = "0123456789abcdef0123"
KODF_REAL = "\ufeff영상ID,UUID,인물성별,촬영장소,촬영시작,스크립트파일,시나리오번호\r\n"
KODF_FAKE = "\ufeff영상ID,타겟영상,타겟UUID,소스UUID,변조모델,촬영시작,인물성별\r\n"
KODF = Tree(
    videos=[
        f"KoDF/1.Training/[원천][원본]원본1/{ACTOR}/{ACTOR}_001.mp4",
        f"KoDF/1.Training/[원천][원본]원본1/{ACTOR}/{ACTOR}_002.mp4",
        "KoDF/1.Training/[원천][원본]원본1/19095/19095_071.mp4",
        f"KoDF/1.Training/[원천][변조]train_dfl1_data/dfl/{ACTOR}/{ACTOR}_171224_1_0000.mp4",
        "KoDF/vaild_dffs/16600_171224_2_0390.mp4",
        "KoDF/audio/16600_16600_5_0391.mp4",
    ],
    files={
        "KoDF/1.Training/train_meta_data/원본영상_training_메타데이터.csv": KODF_REAL
        + f"{ACTOR}_001.mp4,{ACTOR},M,s,t,f,1\r\n{ACTOR}_002.mp4,{ACTOR},M,s,t,f,1\r\n",
        "KoDF/1.Training/train_meta_data/변조영상_training_메타데이터.csv": KODF_FAKE
        + f"{ACTOR}_171224_1_0000.mp4,{ACTOR}_002.mp4,{ACTOR},171224,dfl,t,M\r\n",
        "KoDF/validate_meta_data/변조영상_validation_메타데이터.csv": KODF_FAKE
        + "16600_171224_2_0390.mp4,16600_003.mp4,16600,171224,dffs,t,M\r\n",
    },
)

FAVC = "FakeAVCeleb_v1.2"
FAVC_ROWS = (
    "id00076,-,-,real,A,RealVideo-RealAudio,African,men,00109.mp4",
    "id00076,-,-,rtvc,B,RealVideo-FakeAudio,African,men,00109_fake.mp4",
    "id00076,id00166,-,wav2lip,C,FakeVideo-RealAudio,African,men,00109_id00166_wavtolip.mp4",
    "id00076,id00173,-,fsgan,C,FakeVideo-RealAudio,African,men,00109_id00173_UHoMXLSjlDo.mp4",
    "id00076,1.mp4,-,faceswap,C,FakeVideo-RealAudio,African,men,00109_1.mp4",
    "id00076,10,-,faceswap-wav2lip,D,FakeVideo-FakeAudio,African,men,00109_10_id00476_wavtolip.mp4",
    "id00076,id00476,-,faceswap-wav2lip,D,FakeVideo-FakeAudio,African,men,00109_id00476_wavtolip.mp4",
    "id00076,id00476,-,wav2lip,D,FakeVideo-FakeAudio,African,men,00109_id00476_wavtolip.mp4",
    "id01234,-,-,real,A,RealVideo-RealAudio,Asian (East),women,1.mp4",
    "id01234,id00166,-,fsgan-wav2lip,D,FakeVideo-FakeAudio,Asian (East),women,1_id00173_U_o-MXLS_id00166_wavtolip.mp4",
)


def _favc_path(row):
    source, *_, kind, race, gender, name = row.split(",")
    return f"{kind}/{race}/{gender}/{source}/{name}"


FAKEAVCELEB = Tree(
    videos=list(dict.fromkeys(f"{FAVC}/{_favc_path(row)}" for row in FAVC_ROWS)),
    files={
        f"{FAVC}/meta_data.csv": "source,target1,target2,method,category,type,race,gender,path,\n"
        + "".join(f"{row},FakeAVCeleb/{_favc_path(row).rsplit('/', 1)[0]}\n" for row in FAVC_ROWS)
    },
)

POLYGLOT = Tree(
    videos=[
        "PolyGlotFake/real/ru/ru_61.mp4",
        "PolyGlotFake/real/en/en_31.mp4",
        "PolyGlotFake/fake/to_en/ru_61_to_en_MicroTts.mp4",
        "PolyGlotFake/fake/to_ar/en_31_to_ar_Xtts.mp4",
        "PolyGlotFake/fake/to_ar/ru_61_to_ar_TTS=MicroTts_LS=Wav2Lip.mp4",
    ],
    files={
        "PolyGlotFake/json_file/real_json_file/all_real_video.json": json.dumps(
            {"videos": [{"filename": "ru_61.mp4", "lang": "ru", "characters": [{"age": "30", "sex": "m"}]}]}
        ),
        "PolyGlotFake/json_file/fake_Json_file/all_fake_video.json": json.dumps({
            "video": [
                {"filename": "ru_61_to_en_MicroTts.mp4", "target_lang": "en", "sync_tech": "VideoRetalking"},
                {"filename": "en_31_to_ar_Xtts.mp4", "target_lang": "ar", "sync_tech": "Wav2Lip",
                 "duration": 11.5},
            ]
        }),
    },
)  # fmt: skip

IDFORGE = Tree(
    videos=[
        "IDForge_v1/main/pristine/id00/id00_03/id00_scene_0010-0.mp4",
        "IDForge_v1/main/pristine/id01/id01_00/id01_00-0.mp4",
        "IDForge_v1/main/face_tts/id00/id00_00/id00_scene_0015_0_infoswap.mp4",
        "IDForge_v1/main/face_tts/id00/id00_01/id00_scene_0015_0_infoswap.mp4",
        "IDForge_v1/main/face_tts/id01/id01_00/id01_scene_0001_1_roop.mp4",
        "IDForge_v1/main/face_tts_textgen/id00/id00_00/id00_scene_0015_0_infoswap.mp4",
        "IDForge_v1/main/lip_rvc_textmismatch/id00/id00_03/id00_scene_0010-0.mp3.mp4",
        "IDForge_v1/main/tts_textgen/id00/id00_03/id00_scene_0010-0.mp4",
    ],
    files={
        "IDForge_v1/test.csv": "face_tts/id01/id01_00/id01_scene_0001_1_roop.mp4\n"
        "pristine/id01/id01_00/id01_00-0.mp4\n",
        "IDForge_v1/val.csv": "face_tts/id00/id00_00/id00_scene_0015_0_infoswap.mp4\n"
        "face_tts/id00/id00_01/id00_scene_0015_0_infoswap.mp4\n"
        "face_tts_textgen/id00/id00_00/id00_scene_0015_0_infoswap.mp4\n"
        "lip_rvc_textmismatch/id00/id00_03/id00_scene_0010-0.mp3.mp4\n"
        "pristine/id00/id00_03/id00_scene_0010-0.mp4\n",
    },
)

TREES = {
    "FaceForensics++": faceforensics(),
    "FaceShifter": faceforensics(("c23",), ("FaceShifter",)),
    "DeepFakeDetection": deepfakedetection(),
    "Celeb-DF-v1": CELEB_V1,
    "Celeb-DF-v2": CELEB,
    "Celeb-DF++": CELEB_PP,
    "UADFV": UADFV,
    "DFDC": DFDC,
    "DFDCP": DFDCP,
    "DeeperForensics-1.0": DEEPERFORENSICS,
    "WildDeepfake": WILDDEEPFAKE,
    "DF40": DF40,
    "Deepfake-Eval-2024": DEEPFAKE_EVAL,
    "KoDF-adversarial": KODF_ADVERSARIAL,
    "DFDM": DFDM,
    "FFIW": FFIW,
    "DeepSpeak-v1.1": DEEPSPEAK_V1,
    "DeepSpeak-v2.0": DEEPSPEAK_V2,
    "KoDF": KODF,
    "FakeAVCeleb": FAKEAVCELEB,
    "PolyGlotFake": POLYGLOT,
    "IDForge-v1": IDFORGE,
}
