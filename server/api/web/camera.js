// Takes a picture with the camera. Where the page may not see it (plain http), the system's own way.
import { $ } from "./dom.js";
import { t } from "./texts.js";

// onPicture gets a File.
export function listenForCamera({ onPicture, onError }) {
  let stream = null;
  $("camera-open").addEventListener("click", async () => {
    if (!navigator.mediaDevices) {
      $("camera-file").click();
      return;
    }
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
    } catch {
      onError(t("noCamera"));
      return;
    }
    $("camera-view").srcObject = stream;
    $("camera").showModal();
    $("camera-take").focus();
  });
  $("camera").addEventListener("close", () => {
    stream?.getTracks().forEach((track) => track.stop());
    $("camera-view").srcObject = null;
  });
  $("camera-take").addEventListener("click", () => {
    const view = $("camera-view");
    if (!view.videoWidth) return;  // nothing has come yet
    const canvas = Object.assign(document.createElement("canvas"), { width: view.videoWidth, height: view.videoHeight });
    canvas.getContext("2d").drawImage(view, 0, 0);
    canvas.toBlob((blob) => {
      onPicture(new File([blob], t("cameraName"), { type: "image/jpeg" }));
      $("camera").close();
    }, "image/jpeg", 0.92);
  });
}
