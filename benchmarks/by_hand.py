"""The script that a person writes for the job of experiments/linear_regression.yaml, for comparison with `runner`.

python benchmarks/by_hand.py        leaves a run in ./mlflow.db
"""

import matplotlib.pyplot as plt
import mlflow
import numpy as np
import torch
from torch import nn

EPOCHS = 300
LEARNING_RATE = 0.5
VALIDATE_EVERY = 10
SEED = 0


def make_data():
    """Return inputs and targets of the training and the validation data."""
    generator = torch.Generator().manual_seed(SEED)
    x_train = torch.linspace(-1, 1, 200).unsqueeze(1)
    y_train = 0.5 * x_train + 0.2 * 0.05 * torch.randn(200, 1, generator=generator)
    x_valid = torch.linspace(-1, 1, 50).unsqueeze(1)
    y_valid = 0.5 * x_valid + 0.2 * 0.05 * torch.randn(50, 1, generator=generator)
    return x_train, y_train, x_valid, y_valid


def main():
    """Train the line, log it to MLflow and draw it."""
    torch.manual_seed(SEED)
    x_train, y_train, x_valid, y_valid = make_data()
    model = nn.Linear(1, 1)
    loss_fn = nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)

    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment("by_hand")
    with mlflow.start_run():
        mlflow.log_params(
            {"seed": SEED, "epochs": EPOCHS, "lr": LEARNING_RATE, "optimizer": "SGD", "loss": "MSELoss", "points": 200}
        )
        train_losses, valid_steps, valid_losses = [], [], []
        best_loss = float("inf")
        for epoch in range(1, EPOCHS + 1):
            model.train()
            optimizer.zero_grad()
            loss = loss_fn(model(x_train), y_train)
            loss.backward()
            optimizer.step()
            train_losses.append(loss.item())
            mlflow.log_metric("train/loss", train_losses[-1], step=epoch)
            if epoch % VALIDATE_EVERY == 0:
                model.eval()
                with torch.no_grad():
                    valid_losses.append(loss_fn(model(x_valid), y_valid).item())
                valid_steps.append(epoch)
                mlflow.log_metric("valid/loss", valid_losses[-1], step=epoch)
                if valid_losses[-1] < best_loss:
                    best_loss = valid_losses[-1]
                    torch.save(model.state_dict(), "best.pt")

        torch.save(model.state_dict(), "last.pt")
        mlflow.log_artifact("last.pt", "checkpoints")
        mlflow.log_artifact("best.pt", "checkpoints")

        model.eval()
        with torch.no_grad():
            np.save("predictions.npy", model(x_valid).numpy())
        mlflow.log_artifact("predictions.npy")

        figure, axes = plt.subplots(figsize=(8, 5))
        axes.plot(range(1, EPOCHS + 1), train_losses, label="train")
        axes.plot(valid_steps, valid_losses, label="valid")
        axes.set_xlabel("optimizer steps")
        axes.set_ylabel("loss")
        axes.set_yscale("log")
        axes.set_title("Loss")
        axes.legend()
        mlflow.log_figure(figure, "plots/loss_curve.png")

        figure, axes = plt.subplots(figsize=(8, 5))
        axes.scatter(x_train, y_train, s=14, label="train")
        axes.scatter(x_valid, y_valid, s=20, label="valid")
        dense = torch.linspace(-1, 1, 500).unsqueeze(1)
        with torch.no_grad():
            axes.plot(dense, model(dense), color="red", label="model")
        axes.set_xlabel("x")
        axes.set_ylabel("y")
        axes.set_title("Fit")
        axes.legend()
        mlflow.log_figure(figure, "plots/fit.png")

    print(f"weight {model.weight.item():.4f}, bias {model.bias.item():.4f}, loss {train_losses[-1]:.3g}")


if __name__ == "__main__":
    main()
