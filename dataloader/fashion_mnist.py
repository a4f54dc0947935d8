"""Fashion-MNIST: 60,000 + 10,000 pictures of clothes, 28x28, ten classes (Xiao, Rasul and Vollgraf, 2017)."""

from functools import partial
from pathlib import Path

from torchvision.datasets import FashionMNIST

from dataloader.idx import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, IdxDataset, Way, mirrors_of
from dataloader.ways import gz_files_in

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")

DATASET = IdxDataset(
    name="fashion_mnist",
    folder="FashionMNIST/raw",
    n_classes=10,
    # Those of the raw files. Their .gz files of the original release have the MD5s that torchvision lists.
    sha256={
        TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    ways=(
        *mirrors_of(FashionMNIST),
        Way("installed Debian package dataset-fashion-mnist", partial(gz_files_in, DEBIAN_FOLDER)),
    ),
)
load = DATASET.load
